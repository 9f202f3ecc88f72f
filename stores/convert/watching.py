"""Telling who waits which video has just been converted."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def watched(
    items: Iterable[Item], on_video: Callable[[str], None] | None, name_of: Callable[[Item], str] = str
) -> Iterator[Item]:
    """The items; `on_video` is called with each one's name when the loop over them asks for the next."""
    for item in items:
        yield item
        if on_video is not None:
            on_video(name_of(item))
