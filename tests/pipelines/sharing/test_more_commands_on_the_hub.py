"""Searches, audits and sweeps read a store on the Hub; one that has gone is one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import command_in_process
from hub import Hub

from longvid.pipelines.sharing.push import push

STORE = "hf://datasets/user/features/features.zarr"
Longvid = Callable[..., tuple[int, str, str]]


@pytest.fixture
def longvid(capsys: pytest.CaptureFixture[str]) -> Longvid:
    return command_in_process(capsys)


@pytest.fixture
def there(made: Path, hub: Hub) -> Hub:
    """A Hub with the store."""
    push(made / "features.zarr", "user/features", license="cc-by-4.0")
    return hub


def test_a_search_finds_on_the_hub_what_it_finds_here(made: Path, there: Hub, tmp_path: Path, longvid: Longvid) -> None:
    words = ("--like", "v0@1-3", "--json")
    here, on_hub = (longvid("search", place, *words) for place in (made / "features.zarr", STORE))
    assert on_hub[0] == here[0] == 0, on_hub
    hits = [json.loads(out)["hits"] for _, out, _ in (here, on_hub)]
    assert len(hits[0]) > 1
    assert hits[0] == hits[1]


def test_an_audit_says_of_a_store_on_the_hub_what_it_says_here(made: Path, there: Hub, longvid: Longvid) -> None:
    words = (made / "manifest.jsonl", "--steps", "2", "--json")
    here, on_hub = (longvid("audit", place, *words) for place in (made / "features.zarr", STORE))
    assert on_hub[0] == here[0], on_hub
    answers = [json.loads(out) for _, out, _ in (here, on_hub)]
    assert [answer.pop("store") for answer in answers] == [str(made / "features.zarr"), STORE]
    assert answers[0] == answers[1]


def test_a_sweep_reads_a_store_on_the_hub(made: Path, there: Hub, tmp_path: Path, longvid: Longvid) -> None:
    status, out, err = longvid(
        "sweep",
        f"store={STORE}",
        f"manifest={made / 'manifest.jsonl'}",
        "decoder.name=mean-linear",
        "epochs=1",
        "device=cpu",
        "tensorboard=false",
        f"out={tmp_path / 'sweep'}",
        "--vary",
        "optimiser.learning_rate=1e-4..1e-2",
        "--trials",
        "2",
    )
    assert status == 0, err
    assert "best: trial" in out
    assert STORE in (tmp_path / "sweep" / "best.yaml").read_text()


def told(err: str) -> str:
    assert "Traceback" not in err
    return " ".join(err.split())


def commands(place: str, made: Path, out: Path) -> list[tuple[object, ...]]:
    manifest = made / "manifest.jsonl"
    return [
        ("search", place, "--like", "v0@1-3"),
        ("audit", place, manifest),
        (
            "sweep",
            f"store={place}",
            f"manifest={manifest}",
            f"out={out}",
            "--vary",
            "optimiser.learning_rate=1e-4..1e-2",
        ),
    ]


@pytest.mark.parametrize("which", range(3), ids=["search", "audit", "sweep"])
def test_a_commit_that_is_not_there_and_a_private_repository_are_one_line_each(
    which: int, made: Path, there: Hub, tmp_path: Path, longvid: Longvid, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfFileSystem

    gone = STORE.replace("/features/", f"/features@{'0' * 40}/")
    status, out, err = longvid(*commands(gone, made, tmp_path / "x")[which])
    print(status, out, err)
    assert status == 2
    assert f"{gone}: no feature store was found here; check the name, HF_TOKEN (for a private repository)" in told(err)
    there.repositories["datasets/user/features"].private = True
    monkeypatch.delenv("HF_TOKEN")
    HfFileSystem.clear_instance_cache()
    status, out, err = longvid(*commands(STORE, made, tmp_path / "x")[which])
    print(status, out, err)
    assert status == 2
    assert f"{STORE}: no feature store was found here; check the name, HF_TOKEN (for a private repository)" in told(err)
    assert not (tmp_path / "x").exists()
