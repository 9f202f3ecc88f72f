"""Ids of YouTube videos.

Some start with `-`, so they are never put on a command line bare, only inside a URL.
"""

import re

from longvid.benchmarks.listing import Unusable, quoted

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)


def youtube_id(text: str) -> str:
    """The id; `Unusable` if the text is not one: it would name another file or another video."""
    if not YOUTUBE_ID.fullmatch(text):
        raise Unusable(f"{quoted(text)} is not a YouTube id (11 letters, digits, - or _)")
    return text


def watch_url(key: str) -> str:
    """The page on which the video is, or was."""
    return f"https://www.youtube.com/watch?v={key}"
