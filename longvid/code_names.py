"""Names of code, `package.module:callable`, and their import.

Importing runs code, so such a name may only come from who calls: the command line, or a program of the user's own.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from longvid.errors import LongvidError


def is_code(name: str) -> bool:
    """Whether the name has the form `package.module:callable`; nothing is imported to find out."""
    module, _, attribute = name.partition(":")
    return bool(attribute) and all(part.isidentifier() for part in [*module.split("."), attribute])


def imported(reference: str, *, what: str, error: type[LongvidError]) -> Callable[..., Any]:
    """The callable that `package.module:callable` names; `error` says what is missing. `what` it builds: an encoder."""
    module_name, _, attribute = reference.partition(":")
    try:
        found: object = getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as fault:
        raise error(
            f"{reference}: the module {fault.name!r} cannot be found here; "
            "install it, or put its folder on PYTHONPATH (on every worker)"
        ) from fault
    except AttributeError as fault:
        raise error(f"{reference}: module {module_name!r} has no {attribute!r}") from fault
    if not callable(found):
        raise error(f"{reference} is a {type(found).__name__}, not a callable that builds {what}")
    return found
