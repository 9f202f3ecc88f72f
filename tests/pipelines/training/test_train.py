"""Training learns what a pooled model cannot, goes on where it was cut off, and says what it rests on."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from longvid.datasets import Manifest
from longvid.errors import AnnotationError, ConfigError, DecoderError
from pipelines.train import train
from pipelines.training.results import TrainResult
from pipelines.training.run_folder import RunFolder, read_json
from stores import StoreNotFound


def test_order_is_learned_by_vis4mer_and_not_by_the_pooled_baseline(make_data, recipe_for):
    data = make_data({"train": 32, "val": 16})
    order = train(recipe_for(data, epochs=25, out=str(data / "order")))
    pooled = train(recipe_for(data, epochs=25, out=str(data / "pooled"), decoder={"name": "mean-linear"}))
    assert order.validation["accuracy"].mean >= 0.95
    assert pooled.validation["accuracy"].mean <= 0.8
