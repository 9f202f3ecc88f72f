"""Published numbers are typed as their papers print them, each with its source; impossible ones would not fit."""

import pytest

from longvid.benchmarks.known_tasks import KNOWN_TASKS
from longvid.benchmarks.protocols import PROTOCOLS
from longvid.benchmarks.published import bar, published_results, results_of

TEST_VIDEOS = {
    "relationship": 42,
    "way_speaking": 201,
    "scene": 86,
    "director": 107,
    "genre": 647,
    "writer": 168,
    "year": 143,
}


def test_every_number_names_its_task_source_and_protocol():
    results = published_results()
    assert len(results) > 200
    assert all(result.sources and result.task in KNOWN_TASKS for result in results)
    assert {result.protocol for result in results} <= {*PROTOCOLS, None}
    assert len({(r.task, r.model, r.metric, r.sources) for r in results}) == len(results)


@pytest.mark.parametrize("model", ["ViS4mer", "LST (self-attention decoder)", "Performer", "Orthoformer"])
@pytest.mark.parametrize("task", TEST_VIDEOS)
def test_accuracies_on_all_test_videos_are_whole_numbers_of_videos(model, task):
    (result,) = [r for r in results_of(f"lvu/{task}") if r.model == model]
    right = result.value * TEST_VIDEOS[task]
    assert abs(right - round(right)) < 0.011 * TEST_VIDEOS[task] / 100  # printed with two digits, some cut off


@pytest.mark.parametrize("task", TEST_VIDEOS)
def test_videomambas_accuracies_are_whole_numbers_of_the_videos_it_had(task):
    (result,) = [r for r in results_of(f"lvu/{task}") if r.model == "VideoMamba-Ti f32"]
    assert result.videos is not None
    right = result.value * result.videos
    assert abs(right - round(right)) < 0.011 * result.videos / 100


def test_values_are_in_the_librarys_unit_and_printed_as_in_the_paper():
    (lst,) = [r for r in results_of("lvu/relationship") if r.model.startswith("VideoBERT")]
    assert (lst.printed, lst.value) == ("52.80", pytest.approx(0.528))
    (views,) = [r for r in results_of("lvu/view_count") if r.model == "ViS4mer"]
    assert (views.metric, views.value) == ("mse", 3.63)


def test_the_bar_is_the_best_number_of_its_protocol_that_was_read_in_a_paper():
    best = bar("breakfast/dish", "accuracy", protocol="breakfast/vis4mer")
    assert best is not None
    assert (best.model, best.printed) == ("HERMES (7B language model)", "95.2")  # HierarQ's 97.4 was not read
    views = bar("lvu/view_count", "mse")
    assert views is not None
    assert views.printed == "2.52"  # LV-MAE's
    assert bar("coin/steps", "map@10") is None


def test_a_percentage_is_the_float_nearest_to_its_fraction():
    found = {result.printed: result.value for result in results_of("coin/task") if result.metric == "accuracy"}
    assert found["73.40"] == 0.734
