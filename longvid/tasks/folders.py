"""A manifest from a folder of videos: the plainest data set there is."""

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
    """One row for every video file below a folder, sorted by path; the key is the path below it without its ending.

    Three layouts: `train/<class>/x.mp4` (also `val`, `test`), `<class>/x.mp4`, and plain files without labels. Files
    that differ only in their ending keep it in their keys. Raises `AnnotationError` where there are no videos.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder")
    files = keyed_files(folder)
    if not files:
        raise AnnotationError(f"{folder}: no video files below it (endings: {' '.join(sorted(VIDEO_ENDINGS))})")
    return Manifest(
        tuple(_row(path.relative_to(folder), key, path) for key, path in files.items()),
        name=str(folder),
    )


def keyed_files(folder: Path) -> dict[str, Path]:
    """Every video file below a folder by its key: the path below it without the ending, which stays where two differ
    in nothing else."""
    files = video_files(folder)
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    times = Counter(stems)
    return {stem if times[stem] == 1 else stem + path.suffix: path for path, stem in zip(files, stems, strict=True)}


def video_files(folder: Path) -> list[Path]:
    """Files below a folder that end as videos do, sorted by path; linked folders are entered, each place once.

    Nothing is passed over in silence: links to nothing are listed too, and a folder that cannot be read is an OSError.
    """
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    roots = [str(folder)]
    while roots:  # links wait until all that is really there was entered under its own name
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
