"""A carved split keeps groups whole, keeps every class, and does not depend on the order of rows."""

import pytest

from longvid.errors import AnnotationError
from longvid.tasks.folders import manifest_from_folder
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.tasks.splits import carve_split


def listed(groups: int = 20, members: int = 3) -> Manifest:
    return Manifest(
        tuple(
            ManifestRow(f"g{g}v{m}", split="train", label=("cat", "dog")[g % 2], group=f"g{g}")
            for g in range(groups)
            for m in range(members)
        )
    )


def test_no_group_is_in_both_splits_and_every_class_is_in_each():
    carved = carve_split(listed(), fraction=0.2)
    train, val = carved.split("train"), carved.split("val")
    assert not {row.group for row in train} & {row.group for row in val}
    assert {row.label for row in val} == {row.label for row in train} == {"cat", "dog"}
    assert len(val) == 12


def test_the_choice_depends_on_names_and_seed_not_on_the_order_of_rows():
    manifest = listed()
    turned = Manifest(tuple(reversed(manifest.rows)))
    chosen = {row.key for row in carve_split(manifest).split("val")}
    assert chosen == {row.key for row in carve_split(turned).split("val")}
    assert chosen != {row.key for row in carve_split(manifest, seed=1).split("val")}


def test_test_videos_are_never_moved():
    test = tuple(ManifestRow(f"t{i}", split="test", label="cat") for i in range(9))
    carved = carve_split(Manifest(listed().rows + test))
    assert carved.split("test") == test


def test_a_tiny_data_set_still_gets_one_validation_group():
    assert len(carve_split(listed(2, 1), fraction=0.01).split("val")) == 1


def test_one_group_cannot_be_cut():
    with pytest.raises(AnnotationError, match="cannot be cut into train and val"):
        carve_split(listed(1, 5))


def test_a_folder_of_class_folders_becomes_a_manifest(tmp_path):
    for name in ("train/cat/a.mp4", "train/dog/b.MKV", "test/cat/a.mp4", "test/dog/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    rows = manifest_from_folder(tmp_path).rows
    assert [(row.key, row.split, row.label) for row in rows] == [
        ("test/cat/a", "test", "cat"),
        ("train/cat/a", "train", "cat"),
        ("train/dog/b", "train", "dog"),
    ]


def test_files_that_differ_in_their_ending_only_keep_distinct_keys(tmp_path):
    for name in ("a.mp4", "a.mkv", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert [row.key for row in manifest_from_folder(tmp_path)] == ["a.mkv", "a.mp4", "b"]


def test_a_folder_without_videos_is_an_error(tmp_path):
    with pytest.raises(AnnotationError, match="no video files"):
        manifest_from_folder(tmp_path)
    with pytest.raises(AnnotationError, match="no such folder"):
        manifest_from_folder(tmp_path / "nowhere")


def rare(classes: int = 40, members: int = 3) -> Manifest:
    return Manifest(
        tuple(
            ManifestRow(f"{c}-{m}", split="train", label=f"class {c}") for c in range(classes) for m in range(members)
        )
    )


def test_of_many_rare_classes_as_many_give_a_video_as_make_the_fraction():
    carved = carve_split(rare(), fraction=0.15)
    val = carved.split("val")
    assert len(val) == len({row.label for row in val}) == 18
    assert {row.label for row in carved.split("train")} == {row.label for row in rare()}
    turned = carve_split(Manifest(tuple(reversed(rare().rows))), fraction=0.15)
    assert {row.key for row in turned.split("val")} == {row.key for row in val}


def test_a_class_of_one_video_stays_where_it_can_be_learned():
    manifest = Manifest(rare(10, 1).rows + rare(40, 3).rows[30:])
    assert {row.label for row in carve_split(manifest, fraction=0.15).split("train")} >= {
        f"class {c}" for c in range(10)
    }
