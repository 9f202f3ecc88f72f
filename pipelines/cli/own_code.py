"""Imports from the working folder, only for code that the user names."""

import os
import sys


def find_own_code(name: str | None) -> None:
    """Make `module:callable`, as the user typed it, importable from the working folder; other names change nothing.

    The folder comes last, so that it hides nothing installed; worker processes get the same path. Never call this with
    a name that was read from a file.
    """
    if name is None:
        return
    from longvid.encoders.registry import names_code

    if names_code(name):
        _find_here()


def find_own_decoder(name: str | None) -> None:
    """The same for the name of a decoder."""
    from longvid.code_names import is_code

    if name is not None and is_code(name):
        _find_here()


def _find_here() -> None:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
