"""Which web sites may have a browser send what is not safe: this one, and those that were named.

A multipart form needs no preflight, so any page that a user has open could post one here. The rule is that of Go's
net/http.CrossOriginProtection: `Sec-Fetch-Site` where the browser sends it, else `Origin` against `Host`; a request
with neither comes from no browser. What may change here: nothing that lets another site in unnamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from index.errors import UsageError
from service.access.hosts import split_authority

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")
_DEFAULT_PORTS = ("80", "443")  # which one is meant hangs on the scheme, and a proxy may end TLS


def is_trusted(origin: str | None, site: str | None, host: str, trusted: Iterable[str]) -> bool:
    """Whether an unsafe request may go on, by its headers Origin, Sec-Fetch-Site and Host."""
    if origin is not None and ("*" in trusted or origin.lower() in trusted):
        return True
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or _place(_read_authority(origin)) == _place(host) != (None, None)


def _read_authority(origin: str) -> str:
    """Its `HOST[:PORT]`; nothing where it is no address, such as `http://[`."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _place(authority: str) -> tuple[str | None, str | None]:
    host, port = split_authority(authority)
    return host, None if port in _DEFAULT_PORTS else port


def check_origin(text: str) -> str:
    """An origin for `--cors-origin`, in lower case. Raises UsageError."""
    lowered = text.strip().lower().rstrip("/")
    if lowered != "*" and not _ORIGIN.fullmatch(lowered):
        raise UsageError(
            "no origin",
            where=f"--cors-origin {text}",
            expected="scheme, host and port such as https://shop.example.com, or *",
        )
    return lowered
