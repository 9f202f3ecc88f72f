"""The page of an explanation: evidence along a video, below its pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from longvid.files import write_bytes
from longvid.pipelines.evaluation.explain import Explanation
from longvid.pipelines.reporting.charts import Axis, Series, around, clock, line_chart
from longvid.pipelines.reporting.rendering import render
from longvid.pipelines.reporting.thumbnails import thumbnails_or_reason

METHODS = {"occlusion": "occlusion", "gradient": "gradient × input"}


def write_explanation(found: Explanation, out: str | Path) -> Path:
    """Write the page; it needs no network and no other files."""
    begin, end = float(found.seconds.min()), float(found.seconds.max())
    pictures, reason = thumbnails_or_reason(found.path, begin, end)
    times = np.append(found.seconds[:, 0], found.seconds[-1, 1]).tolist()
    series = []
    for colour, (method, name) in enumerate(METHODS.items()):
        along = getattr(found, method)
        parts = along / (np.abs(along).max() or 1.0)
        series.append(Series(name, colour, times, np.append(parts, parts[-1]).tolist(), step=True))
    levels = [value for one in series for value in one.y]
    chart = line_chart(
        series, Axis(begin, end, "seconds"), around(levels), title=f"Evidence for {found.output} along {found.video}"
    )
    values: dict[str, Any] = {
        "kind": "explain",
        "title": f"Why “{found.output}”?",
        "lead": f"{found.video}: {found.task.name}, answered {found.output!r} with a score of {found.score:.3g} by "
        f"{len(found.seeds)} seed{'s' * (len(found.seeds) > 1)}.",
        "output": found.output,
        "pictures": pictures,
        "reason": reason,
        "chart": chart,
        "width": found.width,
        "stretches": [
            {"method": name, "start": clock(one.start_seconds), "end": clock(one.end_seconds), "share": one.share}
            for method, name in METHODS.items()
            for one in found.stretches(method)  # type: ignore[arg-type]
        ],
        "run": found.run,
        "seeds": ", ".join(map(str, found.seeds)),
    }
    write_bytes(Path(out), render("explanation.html", values).encode())
    return Path(out)
