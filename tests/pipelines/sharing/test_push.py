"""Stores and runs go to a server that speaks the Hub's interface, and are read from there in place."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub import Hub, Repository

from longvid.errors import ConfigError
from longvid.hub import HubPlace, hub_place, local_run
from longvid.pipelines.sharing.cards import run_card, store_card
from longvid.pipelines.sharing.push import push
from longvid.stores import FeatureStore, StoreReadOnly
from longvid.trained import load_decoder


def store_of(folder: Path) -> Path:
    return next(folder.glob("*.zarr"))


def test_a_pushed_store_is_read_in_place_with_the_same_features(made: Path, hub: Hub) -> None:
    pushed = push(store_of(made), "user/features", license="cc-by-4.0")
    assert pushed.place == f"hf://datasets/user/features/{store_of(made).name}"
    here, there = FeatureStore.open(store_of(made)), FeatureStore.open(pushed.place)
    assert there.keys() == here.keys()
    key = here.keys()[0]
    assert np.array_equal(np.asarray(there[key]), np.asarray(here[key]))
    with pytest.raises(StoreReadOnly, match="longvid push"):
        FeatureStore.open(pushed.place, mode="a")


def test_a_pushed_run_loads_and_holds_no_pickle_and_no_path_of_this_machine(made: Path, hub: Hub) -> None:
    push(made / "whole", "user/run", license="mit")
    files = hub.repositories["models/user/run"].files
    assert {Path(name).suffix for name in files} <= {".json", ".jsonl", ".yaml", ".csv", ".safetensors", ".md"}
    assert "seed-0/best.safetensors" in files
    assert not [name for name, data in files.items() if str(made).encode() in data]
    local = load_decoder(made / "whole")
    loaded = load_decoder("hf://user/run")
    assert loaded.task == local.task
    for name, tensor in local.decoder.state_dict().items():
        assert tensor.equal(loaded.decoder.state_dict()[name])


def test_without_a_token_the_hub_refuses_in_one_line_that_never_shows_one(
    made: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "y" * 34)
    with pytest.raises(ConfigError, match="HF_TOKEN") as refused:
        push(made / "whole", "user/run", license="mit")
    assert "\n" not in str(refused.value)
    assert "yyyy" not in str(refused.value)
    assert hub.repositories == {}


def test_private_names_keep_the_manifest_here_and_refuse_what_must_name_a_file(made: Path, hub: Hub) -> None:
    push(made / "whole", "user/run", license="mit", private_names=True)
    files = hub.repositories["models/user/run"].files
    keys = FeatureStore.open(store_of(made)).keys()
    assert not [name for name in files if name.startswith(("manifest", "evaluation"))]
    assert not [key for key in keys for data in files.values() if f'"{key}"'.encode() in data]
    load_decoder("hf://user/run")
    record = json.loads((made / "whole" / "run.json").read_text())
    record["notes"] = ["films/holiday.mp4"]
    naming = made / "naming"
    naming.mkdir()
    for name in ("recipe.yaml", "result.json", "seed-0"):
        (naming / name).symlink_to(made / "whole" / name)
    (naming / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"holiday\.mp4"):
        push(naming, "user/naming", license="mit", private_names=True)
    assert "models/user/naming" not in hub.repositories


@pytest.mark.parametrize(("repo", "license", "told"), [("run", "mit", "user/name"), ("a/b", " ", "--license")])
def test_a_wrong_name_and_an_empty_licence_are_refused(made: Path, repo: str, license: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        push(made / "whole", repo, license=license)


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a store nor a run"):
        push(tmp_path, "a/b", license="mit")


def test_a_card_has_the_recipe_the_metrics_and_a_head_that_parses(made: Path) -> None:
    store = FeatureStore.open(store_of(made))
    card = store_card(store, license="cc-by-4.0")
    assert yaml.safe_load(card.split("---")[1])["license"] == "cc-by-4.0"
    assert store.recipe.digest in card
    assert "longvid verify" in card
    card = run_card(made / "whole")
    assert "FILL IN" in card.split("---")[1]
    assert "| `val` |" in card


def test_markup_in_a_run_stays_text_in_its_card(made: Path, tmp_path: Path) -> None:
    record = json.loads((made / "whole" / "run.json").read_text())
    record["task"]["name"] = "x`\n\n<script>alert(1)</script>\n# title | cell"
    for name in ("recipe.yaml", "seed-0"):
        (tmp_path / name).symlink_to(made / "whole" / name)
    (tmp_path / "run.json").write_text(json.dumps(record))
    card = run_card(tmp_path)
    shown = [line for line in card.splitlines() if "script" in line]
    assert shown
    assert all("`x' <script>" in line for line in shown)  # one line, inside code


def test_places_on_the_hub_are_told_from_paths() -> None:
    assert hub_place("runs/mine") is None
    assert hub_place(Path("hf://user/run")) == HubPlace("user/run", "model")
    assert hub_place("hf://datasets/u/n@0123/x.zarr") == HubPlace("u/n", "dataset", "0123", "x.zarr")
    for wrong in ("hf://user", "hf://u/n/../../etc"):
        with pytest.raises(ConfigError, match="not a place on the Hub"):
            hub_place(wrong)


def test_a_repository_that_is_not_there_is_one_line_with_the_remedy(hub: Hub) -> None:
    with pytest.raises(ConfigError, match="HF_ENDPOINT") as missing:
        local_run("hf://user/nothing")
    assert "\n" not in str(missing.value)


@pytest.mark.faults
@pytest.mark.parametrize("place", ["notes.txt", "videos/linked"])
def test_a_link_in_a_store_is_not_published(made: Path, hub: Hub, tmp_path: Path, place: str) -> None:
    """The files that others' links in a store point to are not the store's."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "id_rsa").write_text("secret")
    store = shutil.copytree(store_of(made), tmp_path / "copied.zarr")
    (store / place).symlink_to(tmp_path / "private" / ("id_rsa" if place.endswith(".txt") else ""))
    with pytest.raises(ConfigError, match="is a link") as refused:
        push(store, "user/features", license="mit")
    assert place in str(refused.value)
    assert hub.repositories == {}
    (store / place).unlink()
    assert push(store, "user/features", license="mit").files


@pytest.mark.faults
@pytest.mark.parametrize("name", ["../../../planted.json", "seed-0/../../planted.yaml"])
def test_a_repository_whose_files_lead_out_of_their_folder_is_not_fetched(hub: Hub, tmp_path: Path, name: str) -> None:
    repository = hub.repositories["models/user/run"] = Repository({"run.json": b"{}", name: b"{}"})
    repository.commit()
    with pytest.raises(ConfigError, match="lies outside it"):
        local_run("hf://user/run")
    assert not list(tmp_path.rglob("*planted*"))
