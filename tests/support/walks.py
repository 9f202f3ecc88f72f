"""A message and its remedy, for tests that do what messages say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Do = Callable[[Path], object]
FAILED = (1, 2, 3)
"""Statuses of damage found, of a command that is refused, and of videos that failed."""


@dataclass(frozen=True)
class Walk:
    """A message and its remedy. Commands are those of `longvid`, in a folder that holds what `sound` makes."""

    command: str
    says: str
    """Part of the message: what names the remedy."""
    then: str = ""
    """The command as the message asks for it; default: the same command, once what it asks for is done."""
    do: str | Do = ""
    """What the message asks to be done meanwhile: another command, or what a person does with files."""
    first: str | Do = ""
    """What is wrong: done before the command, or a command that makes it so."""
