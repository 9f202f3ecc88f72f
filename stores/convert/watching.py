"""Progress reports: which video has just been converted."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def watched(
    items: Iterable[Item], on_video: Callable[[str], None] | None, name_of: Callable[[Item], str] = str
) -> Iterator[Item]:
    """Yields the items; `on_video` is called with an item's name when the loop asks for the next one."""
    for item in items:
        yield item
        if on_video is not None:
            on_video(name_of(item))
