"""Leaves values of more than a few lines out of the reference.

A table of all encoders, for example, is a page of its own.
"""

from typing import Any

import griffe

LONGEST = 200  # characters


class ShortValues(griffe.Extension):
    """The extension that mkdocstrings loads."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Forget a value that is too long to be read in passing."""
        if attr.value is not None and len(str(attr.value)) > LONGEST:
            attr.value = None
