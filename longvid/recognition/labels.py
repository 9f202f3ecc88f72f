"""Checks of labels before any video is opened.

They must fit the task, the head, and mirrored clips.
"""

import re
from collections.abc import Iterable, Sequence

from longvid.errors import AnnotationError, ConfigError
from longvid.tasks import ManifestRow, Task

_SIDED = re.compile(
    r"(?<![a-z])(left|right|leftwards?|rightwards?|clockwise|counter-?clockwise|anti-?clockwise|east|west)(?![a-z])",
    re.I,
)


def class_numbers(rows: Sequence[ManifestRow], task: Task) -> list[int]:
    """The class number of each row. AnnotationError names the first row without a label of this task."""
    if task.kind != "classification":
        raise ConfigError(f"task {task.name!r} is {task.kind}: clips are recognised as one class each (classification)")
    numbers = []
    for row in rows:
        number = task.target(row)
        assert isinstance(number, int)
        numbers.append(number)
    return numbers


def sided_classes(classes: Iterable[str]) -> list[str]:
    """The class names that a mirrored clip would belie: those that say left, right or clockwise."""
    return [name for name in classes if _SIDED.search(name.replace("_", " "))]


def refuse_flips(flip: float, classes: Sequence[str]) -> None:
    """Raise ConfigError for mirrored training clips of a task whose classes tell left from right."""
    sided = sided_classes(classes) if flip else []
    if sided:
        more = f" and {len(sided) - 1} more" if len(sided) > 1 else ""
        raise ConfigError(
            f"flip={flip:g}: a mirrored clip of class {sided[0]!r}{more} would have a wrong label; set flip=0"
        )


def refuse_misfit(task: Task, outputs: int, head: str, *, names: Sequence[str] = ()) -> None:
    """Raise AnnotationError where a head's scores are not one per class of the task, in the same order.

    head: what the message calls it, such as the checkpoint's path. names: the head's own class names, if it has any.
    """
    if outputs != len(task.classes):
        raise AnnotationError(
            f"{head}: its head has {outputs} classes, the labels have {len(task.classes)}; give weights trained "
            "on these classes, or train a new head"
        )
    for number, (own, wanted) in enumerate(zip(names, task.classes, strict=False)):
        if own != wanted:
            raise AnnotationError(
                f"{head}: its class {number} is {own!r}, the labels' is {wanted!r}; order the classes as the head does"
            )
