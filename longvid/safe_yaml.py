"""Safe reading of YAML: plain values only, of bounded size.

PyYAML's safe loader creates no objects, but a few hundred bytes of aliases can stand for more values than fit in
memory, deep nesting crashes it, and its tags turn some text into dates. Here a text is measured before any value is
made.
"""

from collections.abc import Iterator
from typing import Any

import yaml

MOST_BYTES = 1_000_000
"""Longest text that is read, in characters; the longest recipe that comes with longvid has 2,000."""
MOST_DEPTH = 50
MOST_VALUES = 100_000
"""Values that a text may stand for; what an alias repeats is counted each time."""


class YAMLError(ValueError):
    """Why a text cannot be read, in one line; `line` counts from 1, None where the place is not known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML text: None, numbers, text, lists, dictionaries, dates.

    Raises `YAMLError` (a ValueError) for a text that is not YAML, has a tag for anything else, is nested deeper than
    `MOST_DEPTH`, or stands for more than `MOST_VALUES` values.
    """
    if len(text) > MOST_BYTES:
        raise YAMLError(f"is too long for settings ({len(text):,} characters, at most {MOST_BYTES:,})")
    try:
        _refuse_depth(text)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _refuse_explosion(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except YAMLError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise YAMLError(reason, None if mark is None else mark.line + 1) from None
    except (ValueError, OverflowError, RecursionError) as error:  # `2026-02-30`, a number of a million digits
        raise YAMLError(" ".join(str(error).partition(";")[0].split())[:200]) from None


def _refuse_depth(text: str) -> None:
    """Raise `YAMLError` for too deep nesting; the parser's events come one at a time, so nothing here recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark is not None else None
                raise YAMLError(f"is nested deeper than {MOST_DEPTH} levels", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _refuse_explosion(root: yaml.Node) -> None:
    """Raise `YAMLError` where nodes stand for too many values; a node that aliases share is measured once."""
    counts: dict[int, int] = {}
    open_nodes: set[int] = set()

    def count(node: yaml.Node) -> int:
        if id(node) in counts:
            return counts[id(node)]
        if id(node) in open_nodes:
            raise YAMLError("has an alias that holds itself", node.start_mark.line + 1)
        open_nodes.add(id(node))
        total = 1 + sum(count(child) for child in _children(node))
        if total > MOST_VALUES:
            raise YAMLError(f"stands for more than {MOST_VALUES:,} values, by its aliases", node.start_mark.line + 1)
        open_nodes.discard(id(node))
        counts[id(node)] = total
        return total

    count(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
