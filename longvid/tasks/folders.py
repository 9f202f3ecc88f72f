"""A manifest from a folder of videos: the simplest data set there is."""

import os
from collections import Counter
from pathlib import Path

from longvid.errors import AnnotationError
from longvid.tasks.manifest import Manifest, ManifestRow

VIDEO_ENDINGS = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv".split()  # noqa: SIM905
)
_SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def manifest_from_folder(folder: str | Path) -> Manifest:
    """One row per video file below a folder, sorted by path; the key is the relative path without its suffix.

    Three layouts: `train/<class>/x.mp4` (also `val`, `test`), `<class>/x.mp4`, and plain files without labels. Files
    that differ only in their suffix keep it in their keys. Raises `AnnotationError` if there are no videos.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder")
    files = keyed_files(folder)
    if not files:
        raise AnnotationError(f"{folder}: no video files below it (suffixes: {' '.join(sorted(VIDEO_ENDINGS))})")
    return Manifest(
        tuple(_row(path.relative_to(folder), key, path) for key, path in files.items()),
        name=str(folder),
    )


def keyed_files(folder: Path) -> dict[str, Path]:
    """Every video file below a folder by its key: the relative path without the suffix, which is kept if two files
    differ in nothing else."""
    files = video_files(folder)
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    times = Counter(stems)
    return {stem if times[stem] == 1 else stem + path.suffix: path for path, stem in zip(files, stems, strict=True)}


def video_files(folder: Path) -> list[Path]:
    """Files below a folder with a video's suffix, sorted by path; linked folders are entered, each place once.

    Nothing is skipped silently: broken links are listed too, and a folder that cannot be read raises OSError.
    """
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    roots = [str(folder)]
    while roots:  # links come last, so that real folders are entered under their own names
        for parent, folders, files in os.walk(roots.pop(0), onerror=_refuse):
            place = os.stat(parent)
            if (place.st_dev, place.st_ino) in entered:
                folders.clear()
                continue
            entered.add((place.st_dev, place.st_ino))
            roots += sorted(path for name in folders if os.path.islink(path := os.path.join(parent, name)))
            found += [Path(parent, name) for name in files if os.path.splitext(name)[1].lower() in VIDEO_ENDINGS]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


def _row(relative: Path, key: str, path: Path) -> ManifestRow:
    folders = list(relative.parts[:-1])
    split = folders.pop(0) if folders and folders[0].lower() in _SPLIT_FOLDERS else None
    if split is None and folders:
        split = "train"
    return ManifestRow(key, split=split, label=folders[0] if folders else None, path=str(path), source=str(path))
