"""The kind of a failed request, whichever library raised the error."""

import errno
from dataclasses import dataclass
from typing import Literal

from longvid.errors import short_reason
from longvid.video.ranges import WrongRange

REFUSALS = (401, 402, 403, 407, 451)
ABSENCES = (404, 410)
PASSING = (408, 425, 429)
"""Statuses below 500 that say: later."""
PASSING_CODES = ("RequestTimeout", "SlowDown", "RequestTimeTooSkewed")
REFUSING_CODES = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
"""What S3 says with status 400."""
LONGEST_CHAIN = 8


@dataclass(frozen=True)
class Trouble:
    """Why a request failed. `kind`: `absent`, `refused`, `passing` (it may succeed later) or `lasting`."""

    kind: Literal["absent", "refused", "passing", "lasting"]
    reason: str


def trouble_of(error: BaseException) -> Trouble:
    """The kind of a failed request, whichever library raised it."""
    chain = _chain(error)
    if any(type(one).__module__ == "aiohttp.http_exceptions" for one in chain):
        return Trouble("passing", "the answer was garbled")  # which aiohttp numbers 400, as if the server had said so
    code = next((code for one in chain if (code := _s3_code(one))), "")
    if code in PASSING_CODES:
        return Trouble("passing", code)
    if code in REFUSING_CODES:
        return Trouble("refused", code)
    status = _status(chain)
    if status in ABSENCES:
        return Trouble("absent", f"HTTP {status}")
    if status in REFUSALS:
        return Trouble("refused", f"HTTP {status}")
    if status == 412 or type(error).__name__ == "FileExpired":
        return Trouble("lasting", "the file was replaced while it was being read; run the same command again")
    if status is not None and status < 500 and status not in PASSING:
        return Trouble("lasting", f"HTTP {status}")
    if status is not None:
        return Trouble("passing", f"HTTP {status}")
    if isinstance(error, WrongRange):
        return Trouble("passing", str(error))
    if isinstance(error, ImportError):
        return Trouble("lasting", _said(error))
    if isinstance(error, IsADirectoryError):
        return Trouble("lasting", "it is a folder; end it with / to read every video in it")
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__ or error.__context__
        return Trouble("absent", "no such file") if cause is None or _is_boto(cause) else trouble_of(cause)
    if isinstance(error, PermissionError) or type(error).__name__ in ("NoCredentialsError", "RefreshError"):
        return Trouble("refused", _said(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
        return Trouble("lasting", error.strerror or str(error))
    if isinstance(error, TypeError | ValueError | KeyError | AttributeError | NotImplementedError):
        return Trouble("lasting", f"{type(error).__name__}: {_said(error)}")
    name = type(error).__name__
    return Trouble("passing", "nothing came for too long" if "Timeout" in name else f"{name}: {_said(error)}")


def _said(error: BaseException) -> str:
    return short_reason(str(error) or type(error).__name__)


def _is_boto(error: BaseException) -> bool:
    return type(error).__module__.startswith("botocore")


def _chain(error: BaseException) -> list[BaseException]:
    """The error, what caused it, and so on."""
    chain = [error]
    while len(chain) < LONGEST_CHAIN and (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def _s3_code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _status(chain: list[BaseException]) -> int | None:
    """The HTTP status that the first of the errors tells that tells one."""
    for seen in chain:
        status = getattr(seen, "status", None)
        if isinstance(status, int) and 300 <= status < 600:
            return status
        code = getattr(seen, "code", None)
        if isinstance(code, int) and 300 <= code < 600:
            return code
        response = getattr(seen, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if isinstance(status, int) and status >= 300:
                return status
    return None
