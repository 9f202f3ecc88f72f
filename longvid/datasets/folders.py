"""A manifest from a folder of videos: the plainest data set there is."""

from collections import Counter
from pathlib import Path

from longvid.datasets.manifest import Manifest, ManifestRow
from longvid.errors import AnnotationError

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
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS and path.is_file())
    if not files:
        raise AnnotationError(f"{folder}: no video files below it (endings: {' '.join(sorted(VIDEO_ENDINGS))})")
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    times = Counter(stems)
    return Manifest(
        tuple(
            _row(path.relative_to(folder), stem if times[stem] == 1 else stem + path.suffix, path)
            for path, stem in zip(files, stems, strict=True)
        ),
        name=str(folder),
    )


def _row(relative: Path, key: str, path: Path) -> ManifestRow:
    folders = list(relative.parts[:-1])
    split = folders.pop(0) if folders and folders[0].lower() in _SPLIT_FOLDERS else None
    if split is None and folders:
        split = "train"
    return ManifestRow(key, split=split, label=folders[0] if folders else None, path=str(path), source=str(path))
