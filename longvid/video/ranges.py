"""Parts of a file behind http, exactly those that were asked for.

A server or a cache between may answer with another part, with a wrong length, or with the whole file. The library takes
what comes for what it asked for; wrong bytes decode to wrong pictures without an error.
"""

import re
from collections.abc import Callable
from typing import Any

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)
PARTIAL_CONTENT = 206


class NoRanges(Exception):
    """The server sends the whole file, or does not say which part it sends."""


class WrongRange(OSError):
    """The server sends another part than was asked for."""


def http_fetcher(handle: Any) -> Callable[[int, int], bytes]:
    """A function that reads the bytes between two offsets of an opened `HTTPFile` by one request.

    Raises `NoRanges`, `WrongRange`, and what aiohttp raises.
    """
    from fsspec.asyn import sync

    def fetch(start: int, stop: int) -> bytes:
        data: bytes = sync(handle.loop, _fetch, handle, start, stop)
        return data

    return fetch


async def _fetch(handle: Any, start: int, stop: int) -> bytes:
    options = dict(handle.kwargs)
    headers = dict(options.pop("headers", {})) | {"Range": f"bytes={start}-{stop - 1}"}
    answer = await handle.session.get(handle.fs.encode_url(handle.url), headers=headers, **options)
    async with answer:
        answer.raise_for_status()
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if answer.status != PARTIAL_CONTENT or told is None:
            raise NoRanges
        first, last, whole = int(told[1]), int(told[2]), told[3]
        if (first, last) != (start, stop - 1) or whole not in ("*", str(handle.size)):
            raise WrongRange(
                f"bytes {first} to {last} of {whole} came where {start} to {stop - 1} of {handle.size} were asked for"
            )
        data: bytes = await answer.read()
        return data
