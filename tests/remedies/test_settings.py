"""What a message about training settings says to write is a setting that is taken."""

import pytest

from longvid.errors import ConfigError
from longvid.pipelines.training.config import load_config

BASE = ["store=a.zarr", "manifest=m.jsonl"]
WALKS = [
    # settings, part of the message, settings as the message asks for them
    (
        "join.width=8 store=[a.zarr,b.zarr]",
        "give how=streams too",
        "join.width=8 store=[a.zarr,b.zarr] join.how=streams",
    ),
    ("join.how=streams", "give store=[a.zarr,b.zarr]", "join.how=streams store=[a.zarr,b.zarr]"),
    (
        "standardise=[true]  store=[a.zarr,b.zarr]",
        "give one per store",
        "standardise=[true,false] store=[a.zarr,b.zarr]",
    ),
    (
        "task.transform={function: log}",
        "give the task's kind too",
        "task.transform={function: log} task.kind=regression",
    ),
    ("task.labels_per_second=15", "give the task's kind too", "task.labels_per_second=15 task.kind=dense"),
    ("validation.on_test=true", "it needs as_published=true", "validation.on_test=true as_published=true"),
    ("schedule.backwards=true", "it needs as_published=true", "schedule.backwards=true as_published=true"),
    ("decoder.frozen=true", "needs decoder.init", "decoder.frozen=true decoder.init=pre"),
    ("decoder.init=pre store=[a.zarr,b.zarr]", "give one store", "decoder.init=pre"),
    ("devices=2 smoothing={reading: ms-tcn}", "use reading=valid", "devices=2 smoothing={reading: valid}"),
    ("devices=2 smoothing={reading: ms-tcn}", "or devices=1", "devices=1 smoothing={reading: ms-tcn}"),
    ("grid={optimiser.accumulate: [1,2]}", "give it outside of the grid", "optimiser.accumulate=2"),
    (
        "grid={schedule.name: [plateau]}",
        "use cosine or constant",
        "grid={schedule.name: [cosine,constant]}",
    ),
    (
        "grid={optimiser.learning_rate: [0.1]} validation.choose=last",
        "leave out choose and metric",
        "grid={optimiser.learning_rate: [0.1]}",
    ),
    (
        "grid={optimiser.learning_rate: [0.1]} precision=float16",
        "use bfloat16 or float32",
        "grid={optimiser.learning_rate: [0.1]} precision=bfloat16",
    ),
    ("grid={epochs: [1,2]}", "these can: ", "grid={optimiser.weight_decay: [0,0.1]}"),
    ("grid={optimiser.weight_decay: []}", "list some, such as", "grid={optimiser.weight_decay: [0.1, 0.2]}"),
    (
        "optimiser.final_weight_decay=0.1 optimiser.weight_decay=0",
        "needs a weight_decay above 0",
        "optimiser.final_weight_decay=0.1 optimiser.weight_decay=0.2",
    ),
    ("loggers=[{name: csv, project: x}]", "leave it out", "loggers=[csv]"),
    ("loggers=[{name: csv, uri: x}]", "leave it out", "loggers=[csv]"),
    ("seeds=3", "write seeds=[3]", "seeds=[3]"),
    ("seeds=[1,1]", "must be distinct", "seeds=[1,2]"),
    ("decoder=gru", "write decoder.name=gru", "decoder.name=gru"),
    ("optimiser=adam", "optimiser.learning_rate", "optimiser.learning_rate=0.1"),
    ("epoch=3", "did you mean epochs?", "epochs=3"),
    ("lr=3", "did you mean optimiser.learning_rate", "optimiser.learning_rate=3"),
    ("window.clips=3 window.seconds=4", "give one of clips, seconds and segments", "window.clips=3"),
    (
        "window.stride=3 window.seconds=4",
        "use stride_seconds with `seconds`",
        "window.stride_seconds=3 window.seconds=4",
    ),
    ("window.stride_seconds=3 window.clips=4", "use stride with `clips`", "window.stride=3 window.clips=4"),
    ("window.short=padded", "use short='masked'", "window.short=masked"),
    ("protocol=breakfast/fold", "there are ", "protocol=breakfast/folds"),
]


@pytest.mark.parametrize(("settings", "says", "then"), WALKS)
def test_a_setting_that_a_message_asks_for_is_taken(settings: str, says: str, then: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [*BASE, *words(settings)])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    load_config(None, [*BASE, *words(then)])


def words(settings: str) -> list[str]:
    """Settings apart, where a blank stands before a name with `=`."""
    import re

    return re.split(r"\s+(?=[a-z_.]+=)", settings)
