"""What a file calls itself is shown, and obeyed by no terminal."""

import io

import pytest
from rich.text import Text

from longvid.pipelines.cli.console import PlainConsole, PlainTable
from longvid.printable import printable

pytestmark = pytest.mark.faults

OBEYED = [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\r",
    "\b",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u2028",
    "\u200b",
    "\udcff",
]
KEPT = [
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\u2764\ufe0f",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\U0001fae9",
    "می\u200cخواهم",
    "クリップ 😀.mp4",
    ":cat:.mp4",
]


@pytest.mark.parametrize("text", OBEYED, ids=ascii)
def test_what_a_terminal_would_obey_is_written_as_an_escape(text):
    assert printable(f"a{text}b").isascii()
    assert text not in shown(f"a{text}b")


@pytest.mark.parametrize("text", KEPT, ids=ascii)
def test_emoji_and_joined_letters_are_kept(text):
    assert printable(f"x {text} y") == f"x {text} y"
    assert f"x {text} y" in shown(f"x {text} y")


def test_invisible_characters_between_plain_letters_are_not_kept():
    assert printable("pay\u200dpal") == "pay\\u200dpal"
    assert printable("a\U000e0061") == "a\\U000e0061"


def test_lines_are_kept_where_they_are_asked_for():
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    assert printable("a\nb") == "a\\nb"


def shown(text: str) -> str:
    """What a terminal gets of the text: on its own, styled, and everywhere in a table."""
    out = io.StringIO()
    console = PlainConsole(file=out, width=300)
    rows = PlainTable(title=text)
    rows.add_column(text)
    rows.add_row(text)
    rows.add_row(Text(text, "bold"))
    console.print(text)
    console.print(Text(text, "red"))
    console.print(rows)
    return out.getvalue()
