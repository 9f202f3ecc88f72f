"""Names for classes that a task knows by number only, from the manifest's own columns.

A column called like the task's with `_names` behind it holds `{"212": "take out the drive"}` for the classes of its
row; so the words of an annotation file reach tables and reports without standing in the project.
"""

from dataclasses import replace

from longvid.tasks.manifest import Manifest
from longvid.tasks.task import Task


def name_classes(task: Task, manifest: Manifest) -> Task:
    """The task; its numbered classes are called `212 take out the drive` where the manifest has words for them."""
    words: dict[str, str] = {}
    for row in manifest:
        named = row.value(f"{task.column}_names")
        if isinstance(named, dict):
            words = {str(number): str(name) for number, name in named.items()} | words
    if not words:
        return task
    classes = (
        f"{name} {words[name]}" if name == str(number) and name in words else name
        for number, name in enumerate(task.classes)
    )
    return replace(task, classes=tuple(classes))
