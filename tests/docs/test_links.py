"""The check of the built site's links finds what leads nowhere."""

import runpy
from pathlib import Path

broken = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "links.py"))["broken"]


def test_pages_pictures_and_anchors_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text("<h2 id='here'>x</h2><a href='../'>up</a><img src='no.png'>")
    (tmp_path / "index.html").write_text(
        "<a href='a/#here'>1</a><a href='a/#gone'>2</a><a href='b/'>3</a><a href='#top'>4</a><a href='https://x.org/y'>5</a>"
    )
    assert sorted(broken(tmp_path)) == [
        "a/index.html: no.png is not there",
        "index.html: #top names an anchor that is not there",
        "index.html: a/#gone names an anchor that is not there",
        "index.html: b/ is not there",
    ]
