"""Modules of one's own, beside where the command is run: found only where the command line names one."""

import os
import sys


def find_own_code(name: str | None) -> None:
    """Let `module:callable`, as the user typed it, be found in the working folder; any other name changes nothing.

    The folder comes last, so that it hides nothing installed; worker processes get the same path. A name that stands in
    a file must not come here.
    """
    if name is None:
        return
    from longvid.encoders.registry import names_code

    if names_code(name) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
