"""Every wrong or hostile HDF5 file is refused in one line, and it reaches nothing outside itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from zarr.storage import MemoryStore

from longvid.stores import FeatureStore, StoreError
from longvid.stores.convert import export_hdf5, import_hdf5

pytestmark = pytest.mark.faults

ARRAY = np.arange(60, dtype=np.float32).reshape(3, 5, 4)
SECRET = np.arange(60, dtype=np.float32).reshape(3, 5, 4) + 1000


def refused(path: Path, message: str) -> None:
    with pytest.raises(StoreError) as raised:
        import_hdf5(path, MemoryStore(), seconds_per_clip=1)
    assert message in str(raised.value)
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def external_storage(file: h5py.File, folder: Path) -> None:
    (folder / "secret.bin").write_bytes(SECRET.tobytes())
    file.create_dataset("v", ARRAY.shape, "f4", external=[(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)])


def external_link(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["s"] = SECRET
    file["v"] = h5py.ExternalLink(str(folder / "secret.h5"), "/s")


def link_to_a_group_elsewhere(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["g/s"] = SECRET
    file["a/b"] = h5py.ExternalLink(str(folder / "secret.h5"), "/g")


def virtual(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["s"] = SECRET
    layout = h5py.VirtualLayout(shape=ARRAY.shape, dtype="f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "s", shape=ARRAY.shape)
    file.create_virtual_dataset("v", layout)


def references(file: h5py.File, folder: Path) -> None:
    file["v"] = ARRAY
    file.create_dataset("cells", (2,), dtype=h5py.ref_dtype)[0] = file["v"].ref


def region_references(file: h5py.File, folder: Path) -> None:
    file["v"] = ARRAY
    file.create_dataset("cells", (2,), dtype=h5py.regionref_dtype)[0] = file["v"].regionref[0]


def unwritten_chunks(file: h5py.File, folder: Path) -> None:
    file.create_dataset("v", (9, 5, 4), "f4", chunks=(2, 5, 4))[:3] = ARRAY


def custom_type(file: h5py.File, folder: Path) -> None:
    file["v"] = np.dtype("f4")  # a named type, not numbers


FOREIGN: dict[str, tuple[Callable[[h5py.File, Path], object], str]] = {
    "external storage": (external_storage, "keeps its numbers in other files"),
    "external link": (external_link, "is a link to another file"),
    "external link to a group": (link_to_a_group_elsewhere, "is a link to another file"),
    "virtual": (virtual, "is a virtual data set"),
    "references": (references, "holds references to other objects"),
    "region references": (region_references, "holds references to other objects"),
    "a petabyte claimed": (
        lambda f, _: f.create_dataset("v", (10**12, 5, 40), "f4", chunks=(100, 5, 40)),
        "holds 0 of 10,000,000,000 chunks",
    ),
    "a petabyte claimed in one piece": (lambda f, _: f.create_dataset("v", (10**12, 5, 40), "f4"), "but holds 0"),
    "chunks of gigabytes": (
        lambda f, _: f.create_dataset("v", (3, 2**20, 200), "f4", chunks=(2, 2**20, 200), compression=1),
        "its chunks have 1,677,721,600 bytes",
    ),
    "chunks never written": (unwritten_chunks, "holds 2 of 5 chunks"),
    "null data set": (lambda f, _: f.__setitem__("v", h5py.Empty("f4")), "holds no floating-point"),
    "scalar": (lambda f, _: f.create_dataset("v", data=1.0), "holds no floating-point"),
    "integers": (lambda f, _: f.create_dataset("v", data=ARRAY.astype(int)), "holds no floating-point"),
    "objects": (lambda f, _: f.create_dataset("v", data=np.full((3, 5, 4), "x", object)), "holds no floating-point"),
    "named type": (custom_type, "holds no floating-point"),
    "circle of groups": (lambda f, _: f.__setitem__("a/b/c", f.create_group("a")), "holds no floating-point"),
    "circle of soft links": (lambda f, _: f.__setitem__("a", h5py.SoftLink("/a")), "holds no floating-point"),
    "dangling link": (lambda f, _: f.__setitem__("a", h5py.SoftLink("/nowhere")), "holds no floating-point"),
    "no clip": (lambda f, _: f.create_dataset("v", (0, 5, 4), "f4"), "an array of shape (0, 5, 4)"),
    "nan": (lambda f, _: f.create_dataset("v", data=np.where(ARRAY == 7, np.nan, ARRAY)), "gave nan"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_hostile_hdf5_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    make, message = FOREIGN[case]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file, tmp_path)
    refused(tmp_path / "x.h5", message)


def test_what_is_no_hdf5_file_at_all_is_refused_in_one_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["v"] = ARRAY
    whole = (tmp_path / "whole.h5").read_bytes()
    for number, content in enumerate((b"", b"no", whole[:100], whole[: len(whole) // 2], whole[:8] + bytes(4000))):
        (tmp_path / f"{number}.h5").write_bytes(content)
        refused(tmp_path / f"{number}.h5", "is not a readable HDF5 file")
    (tmp_path / "folder.h5").mkdir()
    refused(tmp_path / "folder.h5", "is not a readable HDF5 file")
    refused(tmp_path / "absent.h5", "is not a readable HDF5 file")


@pytest.fixture
def exported(
    tmp_path: Path,
    make_recipe: Callable[..., Any],
    make_features: Callable[..., np.ndarray],
    write_video: Callable[..., None],
) -> Callable[..., Path]:
    """Writes `export_hdf5`'s file of a store of one video, 9 clips of 3 x 8 tokens."""

    def make(dtype: str = "float16") -> Path:
        store = FeatureStore.create(MemoryStore(), make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2)
        write_video(store, "v", make_features(9))
        return export_hdf5(store, tmp_path / "x.h5")

    return make


def replaced(name: str, **values: Any) -> Callable[[h5py.File, Path], None]:
    """Puts another data set where `name` was."""

    def replace(file: h5py.File, _: Path) -> None:
        del file[name]
        file.create_dataset(name, **values)

    return replace


def moved_out(name: str) -> Callable[[h5py.File, Path], None]:
    """Puts the object into another file, and a link to it in its place."""

    def replace(file: h5py.File, folder: Path) -> None:
        with h5py.File(folder / "other.h5", "w") as other:
            file.copy(name, other, "x")
        del file[name]
        file[name] = h5py.ExternalLink(str(folder / "other.h5"), "/x")

    return replace


NANS = np.full((9, 3), np.nan, np.float32)
DEEP = "[" * 100_000
TOKENS = {"shape": (9, 3, 8)}
OWN: dict[str, tuple[Callable[[h5py.File, Path], None], str]] = {
    "store that is no text": (replaced("longvid_store", data=1.0), "longvid_store: expected a single text"),
    "store that is a list": (replaced("longvid_store", data=["a", "b"]), "longvid_store: expected a single text"),
    "store that is deep": (replaced("longvid_store", data=DEEP), "does not describe a store"),
    "store that is not JSON": (replaced("longvid_store", data="{"), "does not describe a store"),
    "store elsewhere": (moved_out("longvid_store"), "is a link to another file"),
    "videos that are numbers": (replaced("videos", data=1.0), "videos is not a group"),
    "videos elsewhere": (moved_out("videos"), "is a link to another file"),
    "a video that is numbers": (replaced("videos/v", data=1.0), "is not a group of one video"),
    "a video elsewhere": (moved_out("videos/v"), "is a link to another file"),
    "no about": (lambda f, _: f.__delitem__("videos/v/about"), "about: expected a single text"),
    "about that is deep": (replaced("videos/v/about", data=DEEP), "about: is not JSON"),
    "about that is a list": (replaced("videos/v/about", data="[]"), "about: is not JSON"),
    "about without a key": (replaced("videos/v/about", data="{}"), "about: expected a JSON object with the"),
    "about that is bytes": (replaced("videos/v/about", data=np.bytes_(b"\xff\xfe")), "about: is not a readable text"),
    "no seconds": (lambda f, _: f.__delitem__("videos/v/seconds"), "seconds: expected the start and end"),
    "seconds of text": (replaced("videos/v/seconds", data=["a"]), "seconds: expected the start and end"),
    "seconds elsewhere": (moved_out("videos/v/seconds"), "is a link to another file"),
    "seconds without end": (
        replaced("videos/v/seconds", shape=(10**9, 2), dtype="f8", chunks=(10**6, 2)),
        "seconds: holds 0 of 1,000 chunks",
    ),
    "no tokens": (lambda f, _: f.__delitem__("videos/v/tokens"), "tokens: expected floating-point numbers of shape"),
    "tokens that are integers": (replaced("videos/v/tokens", **TOKENS, dtype="i2"), "tokens: "),
    "tokens of another shape": (replaced("videos/v/tokens", data=np.zeros((9, 3, 7))), "tokens: expected floating"),
    "tokens elsewhere": (moved_out("videos/v/tokens"), "is a link to another file"),
    "tokens never written": (replaced("videos/v/tokens", **TOKENS, dtype="f2", chunks=(2, 3, 8)), "holds 0 of 5"),
    "scale beside floats": (lambda f, _: f.__setitem__("videos/v/scale", NANS), "tokens: expected int8 numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", OWN)
def test_a_poisoned_export_is_refused_in_one_line(case: str, exported: Callable[..., Path], tmp_path: Path) -> None:
    path = exported()
    poison, message = OWN[case]
    with h5py.File(path, "r+") as file:
        poison(file, tmp_path)
    refused(path, message)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_scale_that_no_token_has_is_refused(scale: float, exported: Callable[..., Path]) -> None:
    path = exported("int8")
    with h5py.File(path, "r+") as file:
        file["videos/v/scale"][5, 1] = scale
    refused(path, "is not finite, or below 0")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_either_byte_order_is_imported_as_the_numbers_it_holds(dtype: str, order: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["v"] = ARRAY.astype(order + dtype)
    store = import_hdf5(tmp_path / "x.h5", MemoryStore(), seconds_per_clip=1)
    np.testing.assert_array_equal(store.video("v").read(0, 3), ARRAY)


def test_hard_and_soft_links_inside_the_file_give_each_video_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/v"] = ARRAY
        file["b"] = file["a"]
        file["c"] = h5py.SoftLink("/a/v")
    assert len(import_hdf5(tmp_path / "x.h5", MemoryStore(), seconds_per_clip=1)) == 1


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("flips", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_flipped_bit_gives_another_number_or_one_line(
    flips: int, own: bool, tmp_path: Path, exported: Callable[..., Path]
) -> None:
    if own:
        path = exported("int8")
    else:
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("a/v", data=ARRAY, chunks=(2, 5, 4), compression=1, fletcher32=True)
            file.create_dataset("w", data=ARRAY)
    whole, draw, refusals = path.read_bytes(), np.random.default_rng(flips), list[str]()
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))  # HDF5 leaves gaps of zeros that nothing reads
    for _ in range(flips):
        content = bytearray(whole)
        content[int(draw.choice(used))] ^= 1 << int(draw.integers(8))
        path.write_bytes(content)
        try:
            import_hdf5(path, MemoryStore(), seconds_per_clip=1, dtype=None if own else "float32")
        except StoreError as error:
            refusals.append(str(error))
    assert len(refusals) > flips // 10
    assert not any("\n" in refusal for refusal in refusals)
