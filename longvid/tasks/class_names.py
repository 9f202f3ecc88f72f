"""Names for classes that a task knows by number only.

They come from the manifest's own columns: one named like the task's with `_names` appended holds
`{"212": "take out the drive"}` for the classes of its row. So the words of an annotation file reach tables and reports
without being part of the project.
"""

from dataclasses import replace

from longvid.tasks.manifest import Manifest
from longvid.tasks.task import Task


def name_classes(task: Task, manifest: Manifest) -> Task:
    """The task with its numbered classes named, as in `212 take out the drive`, if the manifest has names for them."""
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
