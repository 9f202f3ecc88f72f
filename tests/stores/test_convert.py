"""Features go to other projects' files and come back with every bit they had."""

import csv
import json
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn_arrays
from zarr.storage import MemoryStore

from longvid.stores import FeatureStore, InvalidTokens, verify
from longvid.stores.convert import ARRAY_LAYOUTS, export_hdf5, export_npy, import_hdf5, import_npy
from longvid.stores.convert.file_names import file_stems

SHAPES = {"vis4mer": (9, 5, 4), "mstcn": (6, 9), "rows": (9, 6)}


def save(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Write each array as `name.npy`; returns the files' bytes."""
    for name, array in arrays.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", array)
    return {f"{name}.npy": (folder / f"{name}.npy").read_bytes() for name in arrays}


def draw(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """float64 arrays hold numbers that were float32 once, as a model's output saved by way of Python floats."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return values.astype(np.float32).astype(dtype) if dtype == "float64" else values.astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", list(ARRAY_LAYOUTS))
def test_a_folder_of_npy_files_comes_back_byte_for_byte(layout, dtype, tmp_path):
    originals = save(
        tmp_path / "in",
        {
            "P03/cam01": draw(SHAPES[layout], dtype),
            "P03/cam02": draw(SHAPES[layout], dtype, 1),
            "Z": draw(SHAPES[layout], dtype, 2),
        },
    )
    store = import_npy(tmp_path / "in", tmp_path / "store", layout=layout, seconds_per_clip=1 / 15, clips_per_shard=4)
    assert store.keys() == ["P03/cam01", "P03/cam02", "Z"]
    assert store.recipe.encoder == "imported"
    assert store.recipe.dtype == ("float16" if dtype == "float16" else "float32")
    assert verify(store) == []
    video = store.video("P03/cam02")
    np.testing.assert_array_equal(video.seconds[:, 0], np.arange(9) * (1 / 15))
    np.testing.assert_array_equal(video.seconds[:, 1], np.arange(1, 10) * (1 / 15))
    written = export_npy(store, tmp_path / "out", layout=layout)
    assert {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in written} == originals


def test_a_store_comes_back_from_npy_file_by_file(
    tmp_path, store, make_features, make_seconds, write_video, folder_bytes
):
    source = {"size_bytes": 12, "measured": {"end_seconds": 1 / 3}, "problems": ["早い"]}
    for i, key in enumerate(["a", "A", "../up", "deep/er/x", "-rf", "file-\udcff"]):
        write_video(store, key, make_features(5 + i, seed=i), source=source)
    store.update_catalogue()
    files = export_npy(store, tmp_path / "npy")
    assert all(file.resolve().is_relative_to(tmp_path / "npy") for file in files)
    assert len({str(file).casefold() for file in files}) == 6
    import_npy(tmp_path / "npy", tmp_path / "again")
    assert folder_bytes(tmp_path / "again") == folder_bytes(Path(store.location))


def test_an_export_is_named_as_a_person_would_and_an_index_leads_from_key_to_file(
    tmp_path, store, make_features, write_video
):
    names = {
        "P03/cam01": "P03/cam01.npy",
        "Film Nr. 1 (neu)": "Film Nr. 1 (neu).npy",
        "映画": "映画.npy",
        "../who?": "who_.npy",
        "A": "A.npy",
        "a": "a-3.npy",
        "a-2": "a-2.npy",
        "con": "con_.npy",
        "_store": "store.npy",
        "x.npy/y": "x_npy/y.npy",
        "...": "video.npy",
        "file-\udcff": "file-_.npy",
    }
    for i, key in enumerate(names):
        write_video(store, key, make_features(5, seed=i))
    files = export_npy(store, tmp_path / "npy", keys=names)
    assert [file.relative_to(tmp_path / "npy").as_posix() for file in files] == list(names.values())
    with (tmp_path / "npy/_index.csv").open(encoding="utf-8", newline="") as index:
        rows = list(csv.DictReader(index))
    written = {key.replace("\udcff", r"\udcff"): file for key, file in names.items()}
    assert {row["key"]: row["file"] for row in rows} == written
    assert {(row["clips"], float(row["start_seconds"])) for row in rows} == {("5", store.video("a").seconds[0, 0])}
    assert sorted(import_npy(tmp_path / "npy", tmp_path / "again").keys()) == sorted(names)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True))
@settings(max_examples=200)
def test_no_two_files_of_an_export_are_one_and_none_leaves_its_folder(keys):
    stems = file_stems(keys)
    assert len({unicodedata.normalize("NFC", stem.casefold()) for stem in stems}) == len(keys)
    for part in (part for stem in stems for part in stem.split("/")):
        assert part
        assert part[0] not in ".-_ "
        assert part[-1] not in ". "
        assert len(part.encode()) <= 143
        assert not set(part) & set('<>:"\\|?*\0')


def test_a_group_of_hdf5_says_whose_it_is(tmp_path, store, make_features, write_video):
    keys = ["P03/cam01", "映画", "k" * 70_000, "file-\udcff"]
    for i, key in enumerate(keys):
        write_video(store, key, make_features(3 + i, seed=i))
    with h5py.File(export_hdf5(store, tmp_path / "f.h5")) as file:
        found = {group.attrs["key"]: int(group.attrs["clips"]) for group in file["videos"].values()}
    assert found == {"P03/cam01": 3, "映画": 4, "k" * 32_000: 5, r"file-\udcff": 6}
    assert set(import_hdf5(tmp_path / "f.h5", MemoryStore()).keys()) == set(keys)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_store_comes_back_from_hdf5_byte_for_byte(
    dtype, compression, tmp_path, make_recipe, make_features, write_video, folder_bytes
):
    recipe = make_recipe(dtype=dtype, encoder_config={"long": "x" * 100_000})
    store = FeatureStore.create(tmp_path / "f", recipe, clips_per_shard=4, clips_per_chunk=2, compression=compression)
    for i, key in enumerate(["a", "A", "../up", "file-\udcff"]):
        write_video(store, key, make_features(3 + 4 * i, seed=i), source={"measured": [1 / 3, "早い", "y" * 100_000]})
    store.update_catalogue()
    export_hdf5(store, tmp_path / "f.h5")
    import_hdf5(tmp_path / "f.h5", tmp_path / "again")
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "f")


def test_a_foreign_hdf5_file_is_read_data_set_by_data_set(tmp_path):
    arrays = {"train/a": draw((9, 5, 4), "float32"), "test/b": draw((3, 5, 4), "float16", 1)}
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["labels"] = np.arange(4)
    store = import_hdf5(tmp_path / "in.h5", MemoryStore(), seconds_per_clip=1, clips_per_shard=4)
    assert store.keys() == ["test/b", "train/a"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(store.video(name).read(0, len(array)), array)
    with h5py.File(tmp_path / "mstcn.h5", "w") as file:
        file["v"] = draw((6, 9), "float32")
    store = import_hdf5(tmp_path / "mstcn.h5", MemoryStore(), layout="mstcn", seconds_per_clip=1)
    np.testing.assert_array_equal(store.video("v").read(0, 9)[:, 0], draw((6, 9), "float32").T)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=drawn_arrays(
        np.float32,
        st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    starts=st.lists(st.floats(0, 1e6), min_size=7, max_size=7).map(sorted),
)
def test_any_finite_floats_and_seconds_survive(array, starts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("npy")
    save(folder, {"v": array})
    seconds = [[start, start + 0.1] for start in starts[: len(array)]]
    (folder / "v.json").write_text(json.dumps({"key": "K/é", "seconds": seconds, "source": {"n": 0.1}}))
    store = import_npy(folder, MemoryStore(), clips_per_shard=3)
    video = store.video("K/é")
    assert video.read(0, len(array)).tobytes() == array.tobytes()  # negative zeros and subnormals too
    np.testing.assert_array_equal(video.seconds, seconds)
    assert video.source == {"n": 0.1}
    (written,) = export_npy(store, folder / "out")
    assert np.load(written).tobytes() == array.tobytes()


def test_float64_that_float32_would_round_is_refused_unless_chosen(tmp_path):
    save(tmp_path, {"v": np.full((3, 5, 4), 0.1)})
    with pytest.raises(ValueError, match=r"v\.npy: float32 would round its float64 numbers .* choose dtype='float32'"):
        import_npy(tmp_path, MemoryStore(), seconds_per_clip=1)
    store = import_npy(tmp_path, MemoryStore(), seconds_per_clip=1, dtype="float16")
    assert store.video("v").read(0, 3).dtype == np.float16
    save(tmp_path, {"v": np.full((3, 5, 4), 1e6)})
    with pytest.raises(InvalidTokens, match="beyond the largest float16"):
        import_npy(tmp_path, MemoryStore(), seconds_per_clip=1, dtype="float16")


def test_what_cannot_be_imported_is_named(tmp_path, unchecked):
    def refused(message: str, **options: object) -> None:
        with pytest.raises(ValueError, match=message):
            import_npy(tmp_path, MemoryStore(), **({"seconds_per_clip": 1} | options))  # type: ignore[arg-type]

    refused("holds no .npy file")
    save(tmp_path, {"a": draw((3, 5, 4), "float32")})
    refused(r"a\.npy: nothing says how long a clip lasts; give seconds_per_clip", seconds_per_clip=None)
    refused(r"shape \(3, 5, 4\), expected \(dim, clip\)", layout="mstcn")
    code = "from longvid.stores.convert import import_npy\nimport_npy({!r}, {!r}, seconds_per_clip=1, dtype='float64')"
    error = unchecked(code.format(str(tmp_path), str(tmp_path / "new.zarr")))
    assert "recipe field 'dtype': Input should be 'float16', 'float32' or 'int8'" in error
    refused("layout 'other': choose one of vis4mer, mstcn, rows", layout="other")
    (tmp_path / "a.json").write_text('{"seconds": [[0, 1]]}')
    refused(r"a\.npy: \(clips, tokens, dim\) = \(3, 5, 4\), but \(1, 5, 4\) were expected")
    (tmp_path / "a.json").write_text("[]")
    refused(r"a\.json: expected a JSON object")
    (tmp_path / "a.json").write_text("{")
    refused(r"a\.json: is not JSON")
    (tmp_path / "a.json").unlink()
    save(tmp_path, {"b": draw((3, 6, 4), "float32")})
    refused(r"b\.npy: clips of \(6, 4\) \(tokens, dim\), but the first array's are \(5, 4\)")
    save(tmp_path, {"b": np.arange(60).reshape(3, 5, 4)})
    refused(r"b\.npy: numbers of type int64")
    save(tmp_path, {"b": np.full((3, 5, 4), np.nan)})
    with pytest.raises(InvalidTokens, match="video 'b', shard 0: clip 0 of the shard, token 0: the encoder gave nan"):
        import_npy(tmp_path, MemoryStore(), seconds_per_clip=1)
    (tmp_path / "b.npy").write_bytes(b"no numpy")
    refused(r"b\.npy: is not a readable \.npy file")
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object))
    refused(r"b\.npy: is not a readable \.npy file")
    (tmp_path / "b.npy").unlink()
    (tmp_path / "_store.json").write_text("{}")
    refused(r"_store\.json: does not describe a store")


def test_what_is_no_hdf5_file_is_named(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"x\.h5: is not a readable HDF5 file"):
        import_hdf5(tmp_path / "x.h5", MemoryStore())
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["labels"] = np.arange(4)
    with pytest.raises(ValueError, match="holds no floating-point data set of"):
        import_hdf5(tmp_path / "y.h5", MemoryStore())


def test_an_interrupted_import_goes_on_where_it_was(tmp_path):
    save(tmp_path / "in", {"a": draw((9, 5, 4), "float32"), "b": draw((9, 5, 4), "float32", 1)})
    (tmp_path / "in/b.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        import_npy(tmp_path / "in", tmp_path / "store", seconds_per_clip=1, clips_per_shard=4)
    shard = tmp_path / "store/videos/a/tokens/c.0.0.0"
    before = shard.stat().st_mtime_ns
    (tmp_path / "in/b.json").unlink()
    store = import_npy(tmp_path / "in", tmp_path / "store", seconds_per_clip=1, clips_per_shard=4)
    assert store.keys() == ["a", "b"]
    assert shard.stat().st_mtime_ns == before


def test_tokens_that_a_layout_has_no_axis_for_are_refused(store, tmp_path):
    with pytest.raises(ValueError, match=r"3 tokens per clip do not fit an array of \(dim, clip\)"):
        export_npy(store, tmp_path / "out", layout="mstcn")
    assert not (tmp_path / "out").exists()


def test_an_export_overwrites_nothing(store, tmp_path, make_features, write_video):
    write_video(store, "v", make_features(3))
    export_npy(store, tmp_path / "out", keys=["v"])
    with pytest.raises(ValueError, match=r"v\.npy: exists already"):
        export_npy(store, tmp_path / "out")
    export_hdf5(store, tmp_path / "f.h5")
    with pytest.raises(ValueError, match=r"f\.h5: exists already"):
        export_hdf5(store, tmp_path / "f.h5")


def test_int8_is_exported_as_the_numbers_it_stands_for(tmp_path, make_recipe, make_features, write_video):
    store = FeatureStore.create(MemoryStore(), make_recipe(dtype="int8"))
    write_video(store, "v", make_features(3))
    (file,) = export_npy(store, tmp_path / "out")
    np.testing.assert_array_equal(np.load(file), store.video("v").read(0, 3))


def test_every_video_that_goes_out_or_comes_in_is_told(store, tmp_path, make_features, write_video):
    for key in ("a/b", "c"):
        write_video(store, key, make_features(9))
    told: dict[str, list[str]] = {"npy out": [], "npy in": [], "hdf5 out": [], "hdf5 in": []}
    files = export_npy(store, tmp_path / "npy", on_video=told["npy out"].append)
    import_npy(tmp_path / "npy", tmp_path / "from-npy.zarr", on_video=told["npy in"].append)
    export_hdf5(store, tmp_path / "all.h5", on_video=told["hdf5 out"].append)
    import_hdf5(tmp_path / "all.h5", tmp_path / "from-h5.zarr", on_video=told["hdf5 in"].append)
    assert told["npy out"] == [str(file) for file in files]
    assert sorted(told["npy in"]) == sorted(told["npy out"])
    assert told["hdf5 out"] == store.keys()
    assert len(told["hdf5 in"]) == 2
