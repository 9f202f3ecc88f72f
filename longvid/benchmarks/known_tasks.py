"""The tasks of the public data sets, by the names that recipes use."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from longvid.benchmarks.breakfast.benchmark import DISH_TASK, UNIT_TASK
from longvid.benchmarks.coin.benchmark import STEP_TASK, TASK_TASK
from longvid.benchmarks.lvu.annotations import LVU_TASKS
from longvid.errors import ConfigError
from longvid.tasks.task import Task

KNOWN_TASKS: Mapping[str, Task] = MappingProxyType(
    {task.name: task for task in (*LVU_TASKS.values(), DISH_TASK, UNIT_TASK, TASK_TASK, STEP_TASK)}
)


def find_task(name: str) -> Task:
    """The task of that name; `ConfigError` suggests similar names if there is none."""
    if name not in KNOWN_TASKS:
        near = difflib.get_close_matches(name, KNOWN_TASKS, 3, 0.5) or list(KNOWN_TASKS)
        raise ConfigError(f"no task {name!r}; there are {', '.join(near)}")
    return KNOWN_TASKS[name]
