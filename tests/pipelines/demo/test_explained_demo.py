"""On the demo, where the deciding events are known, an explanation finds them.

Takes ten minutes: pytest -m slow tests/pipelines/demo/test_explained_demo.py
"""

import numpy as np
import pytest

from longvid.pipelines.demo.run import demo
from longvid.pipelines.demo.videos import EVENT_SECONDS, write_scripts
from longvid.pipelines.evaluation.explain import explain, top_decile


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_two_events_hold_the_top_decile_of_the_attribution(tmp_path):
    demo(tmp_path, seeds=(0,), say=lambda line: None)
    held: dict[str, list[float]] = {"occlusion": [], "gradient": []}
    for script in write_scripts(440, seed=0)[-20:]:
        found = explain(tmp_path / "runs" / "vis4mer", script.name, device="cpu")
        inside = np.zeros(len(found.seconds), bool)
        for start in (script.red_seconds, script.blue_seconds):
            inside |= (found.seconds[:, 1] > start) & (found.seconds[:, 0] < start + EVENT_SECONDS)
        for method, shares in held.items():
            values = np.maximum(getattr(found, method), 0)
            top = top_decile(values)
            shares.append(values[top[inside[top]]].sum() / values[top].sum())
    assert np.mean(held["occlusion"]) >= 0.8
    assert np.mean(held["gradient"]) >= 0.8
