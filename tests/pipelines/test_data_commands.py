"""`longvid tasks` and `longvid results` say what there is, and answer a wrong name with the near ones."""

import json

from longvid.benchmarks import KNOWN_TASKS, PROTOCOLS
from longvid.pipelines.recipes import recipe_names


def test_tasks_lists_every_task_protocol_and_recipe(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    listed = {flag: command("tasks", *flag)[1] for flag in ((), ("--protocols",), ("--recipes",))}
    assert all(name in listed[()] for name in KNOWN_TASKS)
    assert all(name in listed["--protocols",] for name in PROTOCOLS)
    assert all(name in listed["--recipes",] for name in recipe_names())
    found = json.loads(command("tasks", "--json")[1])
    assert found["protocols"]["lvu/vis4mer"]["window"] == {
        "clips": 60,
        "stride": 1,
        "short": "padded",
        "draw": "windows",
    }


def test_published_numbers_stand_by_protocol_with_their_sources(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    status, out, _ = command("results", "lvu/relationship")
    assert status == 0
    assert "57.14 %" in out
    assert "VideoMamba (arXiv 2403.06977), table 7" in out
    assert "none of your runs is trained for this" in out
    only = command("results", "lvu/relationship", "--protocol", "lvu/ma-lmm")[1]
    assert "HERMES" in only
    assert "57.14 %" not in only
    found = json.loads(command("results", "breakfast-segmentation", "--json")[1])
    assert found["task"] == "breakfast/units"
    assert {row["metric"] for row in found["published"]} == {"mof", "edit", "f1@10", "f1@25", "f1@50"}


def test_a_name_nobody_knows_is_answered_with_the_near_ones(command):
    status, _, err = command("results", "lvu/relation")
    assert status == 2
    assert err.startswith("error: no task 'lvu/relation'; there are lvu/relationship")
    status, _, err = command("results", "lvu/scene", "--protocol", "lvu/vis4mr")
    assert status == 2
    assert "there are lvu/vis4mer" in err


def test_a_folder_of_runs_that_is_not_there_is_said(command):
    status, _, err = command("results", "lvu/scene", "--runs", "nowhere")
    assert status == 2
    assert err.startswith("error: nowhere: no such folder of runs")
