"""Options of the places that URLs name; what is secret is not shown.

    storage = Storage({"s3": {"endpoint_url": "https://s3.lab.org", "key": "...", "secret": "..."}})

Any URL that fsspec knows can be read (`s3://`, `gs://`, `https://`, `sftp://`). What it needs to know, credentials
among it, are the options of fsspec's file system for that protocol; without them it looks into the environment
(`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, `FSSPEC_S3_ENDPOINT_URL`). They are kept in memory only: no
store, report or message holds them, nor the query of a URL, in which signed links carry their signature.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from longvid.errors import ConfigError

RETRIES = 5
"""Times that a failed request is repeated."""
STALL_SECONDS = 60.0
"""A request that brings nothing for this long has failed."""

EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("http", "https"), "http"),
}
"""The extra of longvid whose package reads a protocol."""

SHORTEST_SECRET = 6
PUBLIC = frozenset({"endpoint_url", "region_name", "project", "host", "protocol"})
"""Options that may be shown."""

_QUERY = re.compile(r"(\b[a-zA-Z][\w+.-]*://[^\s'\"<>?#]*)\?[^\s'\"<>),;]*")
_USER = re.compile(r"(\b[a-zA-Z][\w+.-]*://)[^\s/'\"@]+@")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def is_url(text: str) -> bool:
    """Whether the text is a URL, and not a path."""
    return "://" in text


def without_secrets(text: str) -> str:
    """The text with its URLs cut before their queries, and without user names and passwords in them."""
    return _USER.sub(r"\1", _QUERY.sub(r"\1", text)) if "://" in text else text


class Storage:
    """Options of fsspec's file systems by protocol (`s3`) or by the start of a URL (`s3://bucket/folder`).

    The longest start that a URL has counts. `retries`: times that a failed request is repeated, after pauses that
    double; `stall_seconds`: how long one may bring nothing. Its `repr` shows no value.
    """

    def __init__(
        self,
        options: Any = None,
        *,
        retries: Any = RETRIES,
        stall_seconds: Any = STALL_SECONDS,
    ) -> None:
        given = {} if options is None else options
        if not isinstance(given, Mapping) or not all(isinstance(value, Mapping) for value in given.values()):
            # a message that showed the wrong value could show a secret
            raise ConfigError("storage: give named options for each protocol, as in `s3: {endpoint_url: ...}`")
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ConfigError(f"retries={retries!r}: should be a whole number, 0 or more")
        if isinstance(stall_seconds, bool) or not isinstance(stall_seconds, int | float) or not stall_seconds > 0:
            raise ConfigError(f"stall_seconds={stall_seconds!r}: should be a number of seconds, more than 0")
        self._options = {str(name): dict(value) for name, value in given.items()}
        self.retries = retries
        self.stall_seconds = float(stall_seconds)

    @classmethod
    def read(cls, values: Any, **settings: Any) -> "Storage":
        """The storage of a settings file, in which `$NAME` or `${NAME}` stands for a variable of the environment.

        Raises `ConfigError` that names a variable that is not set.
        """
        checked = cls(values, **settings)
        checked._options = {name: _filled(value, f"storage.{name}") for name, value in checked._options.items()}
        return checked

    def __repr__(self) -> str:
        return f"Storage({', '.join(sorted(self._options))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, int, float]:
        return json.dumps(self._options, sort_keys=True, default=repr), self.retries, self.stall_seconds

    def options_of(self, url: str) -> dict[str, Any]:
        """fsspec's options for the URL."""
        protocol = url.partition("://")[0]
        starts = [name for name in self._options if name == protocol or ("://" in name and url.startswith(name))]
        return dict(self._options[max(starts, key=len)]) if starts else {}

    def file_system(self, url: str) -> tuple[Any, str]:
        """fsspec's file system for the URL, and the URL's path in it.

        The connection is made once per process. Raises `ImportError` where a package is missing, ValueError for a
        protocol that fsspec does not know.
        """
        protocol = url.partition("://")[0].lower()
        import fsspec

        # some say the host, a user and a port in the URL
        options = fsspec.get_filesystem_class(protocol)._get_kwargs_from_urls(url) | self.options_of(url)
        identity = json.dumps(options, sort_keys=True, default=repr)
        opened = _opened(os.getpid(), protocol, identity, self.stall_seconds, _Given(options))
        return opened, opened._strip_protocol(url)

    def hide(self, text: str) -> str:
        """The text without secrets: queries of URLs, and the values of these options."""
        for secret in sorted(_texts(self._options), key=len, reverse=True):
            text = text.replace(secret, "***")
        return without_secrets(text)


class _Given:
    """Options beside the text that identifies them."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _opened(pid: int, protocol: str, identity: str, stall_seconds: float, given: _Given) -> Any:
    """A file system of this process that lists anew each time, and repeats no request by itself."""
    import fsspec

    options = {"skip_instance_cache": True} | _careful(protocol, stall_seconds, given.options)
    file_system = fsspec.filesystem(protocol, **options)
    if hasattr(file_system, "retries"):  # s3fs repeats requests; what is stated must be what is done
        file_system.retries = 1
    return file_system


def _careful(protocol: str, stall_seconds: float, options: dict[str, Any]) -> dict[str, Any]:
    """The options with time limits and without remembered listings, where the file system has such options."""
    if protocol in EXTRAS:
        options = {"use_listings_cache": False} | options
    if protocol in ("s3", "s3a"):
        limits = {"connect_timeout": min(stall_seconds, 30.0), "read_timeout": stall_seconds}
        no_repeats = {"retries": {"max_attempts": 0}}
        return options | {"config_kwargs": limits | no_repeats | options.get("config_kwargs", {})}
    if protocol in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=30, sock_read=stall_seconds)
        return options | {"client_kwargs": {"timeout": timeout} | options.get("client_kwargs", {})}
    return options


def url_name(url: str) -> str:
    """The last part of a URL's path, without its query: the name of the file."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2] or url.rstrip("/").rpartition("/")[2]


def _filled(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(inner, f"{where}.{name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, where) for inner in value]
    if not isinstance(value, str):
        return value
    return _VARIABLE.sub(lambda found: _variable(found[1] or found[2], where), value)


def _variable(name: str, where: str) -> str:
    if name not in os.environ:
        raise ConfigError(f"{where}: the variable {name} is not set in the environment; set it, or write the value")
    return os.environ[name]


def _texts(values: Any, name: str = "") -> Iterator[str]:
    """The texts among the options that may be secret."""
    if isinstance(values, Mapping):
        for inner, value in values.items():
            yield from _texts(value, str(inner))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value, name)
    elif isinstance(values, str) and len(values) >= SHORTEST_SECRET and name not in PUBLIC:
        yield values
