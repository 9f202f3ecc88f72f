"""What messages about stores, imports and exports say to do is done, and helps."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from walks import Walk

from longvid.stores.convert import import_npy

CLIPS = np.arange(24, dtype=np.float32).reshape(6, 1, 4)
ONE = (
    "extract v0.mp4 -e patch-statistics --option size=32 --option dim=16 --option frames=2 --pooling mean --seed 3 "
    "--sampling frames=2,fps=4,stride_seconds=0.5 --scheduler inline"
)
"""Extracts `v0` as it is in `features.zarr`, but for the place."""


def arrays(*, seconds: bool = False, **changes: np.ndarray) -> Callable[[Path], object]:
    """A folder `in` of npy files, a and b; with the seconds of their clips, or without."""

    def make(folder: Path) -> None:
        (folder / "in").mkdir()
        for name, array in ({"a": CLIPS, "b": CLIPS} | changes).items():
            np.save(folder / "in" / f"{name}.npy", array)
            if seconds:
                times = [[index, index + 1] for index in range(len(array))]
                (folder / "in" / f"{name}.json").write_text(json.dumps({"seconds": times}))

    return make


def saved(name: str, array: np.ndarray) -> Callable[[Path], object]:
    """Writes one of the arrays again."""
    return lambda folder: np.save(folder / "in" / f"{name}.npy", array)


def linked_array(folder: Path) -> None:
    arrays(seconds=True)(folder)
    shutil.move(folder / "in/b.npy", folder / "b.npy")
    (folder / "in/b.npy").symlink_to(folder / "b.npy")


def copied_array(folder: Path) -> None:
    (folder / "in/b.npy").unlink()
    shutil.copy(folder / "b.npy", folder / "in/b.npy")


def hdf5(**how: object) -> Callable[[Path], object]:
    """`in.h5` with a data set `v`, in a way that an import refuses or (nothing given) takes."""

    def make(folder: Path) -> None:
        import h5py

        with h5py.File(folder / "in.h5", "w") as file:
            if how.get("virtual"):
                with h5py.File(folder / "other.h5", "w") as other:
                    other["v"] = CLIPS
                layout = h5py.VirtualLayout(CLIPS.shape, "f4")
                layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "v", CLIPS.shape)
                file.create_virtual_dataset("v", layout)
            elif how.get("external"):
                (folder / "raw").write_bytes(CLIPS.tobytes())
                file.create_dataset("v", CLIPS.shape, "f4", external=[(str(folder / "raw"), 0, CLIPS.nbytes)])
            elif how.get("link"):
                with h5py.File(folder / "other.h5", "w") as other:
                    other["v"] = CLIPS
                file["v"] = h5py.ExternalLink(str(folder / "other.h5"), "v")
            elif how.get("references"):
                file["w"] = CLIPS
                file.create_dataset("v", data=np.array([file["w"].ref], dtype=h5py.ref_dtype))
            elif how.get("name"):
                file[b"\xff"] = CLIPS
            else:
                file["v"] = CLIPS

    return make


def without_document(folder: Path) -> None:
    (folder / "features.zarr/zarr.json").unlink()


def flipped(folder: Path) -> None:
    (shard,) = (folder / "features.zarr/videos/v0/tokens").glob("c.*")
    data = bytearray(shard.read_bytes())
    data[9] ^= 1
    shard.write_bytes(data)


def linked_video(folder: Path) -> None:
    shutil.move(folder / "features.zarr/videos/v0", folder / "v0")
    (folder / "features.zarr/videos/v0").symlink_to(folder / "v0")


def without_shard(folder: Path) -> None:
    (shard,) = (folder / "features.zarr/videos/v0/tokens").glob("c.*")
    shard.unlink()


IMPORT = "import in new.zarr"
WALKS = {
    "no store": Walk("info new.zarr", "make one with `longvid extract`", do=f"{ONE} -o new.zarr"),
    "no video of that name": Walk(
        "delete features.zarr w0",
        "`longvid info features.zarr --videos` lists",
        "delete features.zarr v0",
        do="info features.zarr --videos",
    ),
    "no video of that name to verify": Walk(
        "verify features.zarr --video v7", "did you mean 'v", "verify features.zarr --video v0"
    ),
    "no video of that name to repair": Walk(
        "repair features.zarr --video 'a/b c'",
        "holds no video 'a/b c'; `longvid info features.zarr --videos` lists",
        "repair features.zarr --video v0",
        do="info features.zarr --videos",
    ),
    "no document": Walk(
        "info features.zarr", "run `longvid repair`", do="repair features.zarr", first=without_document
    ),
    "damage found": Walk(
        "verify features.zarr",
        "`longvid repair` removes what is damaged; `longvid extract` then makes it again",
        do=lambda folder: None,
        then="repair features.zarr",
        first=flipped,
    ),
    "a link in a store": Walk(
        f"{ONE} -o features.zarr",
        "put the folder itself there",
        do=lambda folder: (
            (folder / "features.zarr/videos/v0").unlink(),
            shutil.move(folder / "v0", folder / "features.zarr/videos/v0"),
        ),
        first=linked_video,
    ),
    "two checks": Walk(
        "verify features.zarr --record --against .", "give one of them", "verify features.zarr --record"
    ),
    "a share of a check": Walk(
        "verify features.zarr --against . --sample 200%",
        "give a share of the shards such as 1% or 0.01",
        "verify features.zarr --against . --sample 1%",
    ),
    "nothing says how long a clip lasts": Walk(
        IMPORT,
        "give seconds_per_clip",
        f"{IMPORT} --seconds-per-clip 1",
        do=lambda folder: shutil.rmtree(folder / "new.zarr", ignore_errors=True),
        first=arrays(),
    ),
    "an import of other settings": Walk(
        f"{IMPORT} --seconds-per-clip 2",
        "choose another location or the settings",
        "import in other.zarr --seconds-per-clip 2",
        first=lambda folder: (arrays()(folder), import_npy(folder / "in", folder / "new.zarr", seconds_per_clip=1)),
    ),
    "arrays of another layout": Walk(
        f"{IMPORT} --seconds-per-clip 1",
        "expected (clip, token, dim)",
        f"{IMPORT} --seconds-per-clip 1 --layout mstcn",
        first=arrays(a=CLIPS[:, 0].T, b=CLIPS[:, 0].T),
    ),
    "no such layout": Walk(
        f"{IMPORT} --seconds-per-clip 1 --layout ms-tcn",
        "mstcn",
        f"{IMPORT} --seconds-per-clip 1 --layout mstcn",
        first=arrays(a=CLIPS[:, 0].T, b=CLIPS[:, 0].T),
    ),
    "numbers that would be rounded": Walk(
        f"{IMPORT} --seconds-per-clip 1",
        "to accept that, choose dtype='float32' yourself",
        f"{IMPORT} --seconds-per-clip 1 --dtype float32",
        first=arrays(a=CLIPS.astype(np.float64) / 3),
    ),
    "whole numbers": Walk(
        f"{IMPORT} --seconds-per-clip 1",
        "features must be floating point",
        do=saved("b", CLIPS),
        first=arrays(b=CLIPS.astype(int)),
    ),
    "a cut array": Walk(
        f"{IMPORT} --seconds-per-clip 1",
        "fetch or write the file again",
        do=saved("b", CLIPS),
        first=lambda folder: (arrays()(folder), (folder / "in/b.npy").write_bytes(b"\x93NUMPY")),
    ),
    "a link among arrays": Walk(IMPORT, "put the file itself there", do=copied_array, first=linked_array),
    "a link in an HDF5 file": Walk(
        "import in.h5 new.zarr --seconds-per-clip 1",
        "import that file itself",
        "import other.h5 new.zarr --seconds-per-clip 1",
        first=hdf5(link=True),
    ),
    "numbers that lie elsewhere": Walk(
        "import in.h5 new.zarr --seconds-per-clip 1", "save an ordinary one", do=hdf5(), first=hdf5(virtual=True)
    ),
    "numbers in other files": Walk(
        "import in.h5 new.zarr --seconds-per-clip 1",
        "save them in the HDF5 file itself",
        do=hdf5(),
        first=hdf5(external=True),
    ),
    "references": Walk(
        "import in.h5 new.zarr --seconds-per-clip 1",
        "save the numbers themselves",
        do=hdf5(),
        first=hdf5(references=True),
    ),
    "a name that is not text": Walk(
        "import in.h5 new.zarr --seconds-per-clip 1", "rename it", do=hdf5(), first=hdf5(name=True)
    ),
    "an export that is there": Walk(
        "export features.zarr out.h5",
        "choose another name",
        "export features.zarr other.h5",
        first=lambda folder: (folder / "out.h5").write_bytes(b"x"),
    ),
    "an export into a full folder": Walk(
        "export features.zarr out",
        "export into an empty folder",
        "export features.zarr empty",
        first=lambda folder: (folder / "out").mkdir() or (folder / "out/v0.npy").write_bytes(b"x"),
    ),
    "a push without a licence": Walk(
        "push features.zarr user/name --license ' '", "--license cc-by-4.0", "info features.zarr --card"
    ),
    "reading what is not complete": Walk(
        "evaluate run",
        "extract them, or evaluate without them",
        "evaluate run --split val",
        first=lambda folder: shutil.rmtree(folder / "features.zarr/videos/v3"),
    ),
}


@pytest.mark.parametrize("name", WALKS)
def test_what_a_message_about_a_store_says_helps(name: str, walk: Callable[[Walk], str]) -> None:
    walk(WALKS[name])
