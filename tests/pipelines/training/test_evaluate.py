"""Evaluation scores what was trained, beside an answer that never looks, and says how many videos it rests on."""

from pipelines.evaluate import EvaluationResult, evaluate
from pipelines.train import train
from pipelines.training.run_folder import read_json


def test_x(make_data, recipe_for):
    data = make_data()
    train(recipe_for(data, seeds=[0, 1]))
    result = evaluate(data / "run")
    print(result)
    assert EvaluationResult.from_dict(read_json(data / "run" / "evaluation" / "test.json")) == result
