"""On PYTHONPATH, this makes PyAV misbehave on files of certain names in every process that starts."""

import contextlib
import ctypes
import os
import signal
import time
from typing import Any

with contextlib.suppress(ImportError):
    import av

    _open = av.open

    def _misbehave(file: Any, *arguments: Any, **options: Any) -> Any:
        name = os.path.basename(str(file))
        if name.startswith("hangs"):
            while True:
                time.sleep(1)
        if name.startswith("holds"):  # as C code does that never lets go of the interpreter
            ctypes.PyDLL(None).sleep(1000)
        if name.startswith("crashes"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("odd"):
            b"\xe9".decode("utf-8")
        return _open(file, *arguments, **options)

    av.open = _misbehave
