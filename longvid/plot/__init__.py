"""Pictures: timelines, segments, curves, scores, similarity, confusion.

    from longvid import plot
    plot.timeline(predict("runs/mine", "new.mp4"))
    plot.curves("runs/mine", backend="plotly")
    plot.similarity(store["holiday"])

By default a function draws with matplotlib, into `axes` or into a new figure, and returns the axes;
`axes.figure.savefig("x.png")` writes it. With `backend="plotly"` it draws into the plotly figure given as `axes` or
into a new one, and returns the figure, which can be zoomed; `figure.write_html("x.html")` writes it. Both draw the same
points, names and colours (`longvid.notebook.COLOURS`). The extras are `longvid[plot]` and `longvid[plotly]`.
"""

from longvid.plot.canvas import Backend
from longvid.plot.pictures import (
    Timed,
    confusion,
    cosine_similarity,
    curves,
    scores,
    segments,
    similarity,
    timeline,
)

__all__ = [
    "Backend",
    "Timed",
    "confusion",
    "cosine_similarity",
    "curves",
    "scores",
    "segments",
    "similarity",
    "timeline",
]
