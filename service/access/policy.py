"""What was said on the command line and where the service listens -> who may ask for what.

What may change here: nothing that opens a service to a network without somebody having said so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from index.errors import UsageError
from index.layout import Layout
from service.access.hosts import Hosts, is_loopback, plan_hosts
from service.access.keys import read_keys
from service.access.origins import check_origin

_LEAST_BURST = 60  # the page asks for some 30 things at once: an answer and its thumbnails


@dataclass(frozen=True)
class Access:
    """Who may ask for what. As it is by itself: for a service on loopback."""

    keys: bool = False  # whether all but the page's shell asks for a key
    hosts: Hosts = field(default_factory=Hosts)
    origins: tuple[str, ...] = ()  # of other web sites that may ask; `*`: any
    rate: float | None = None  # requests a second of one key, or of one address where there are no keys
    burst: int = _LEAST_BURST  # requests at once


@dataclass(frozen=True)
class AccessOptions:
    """What `crossmatch serve` was told."""

    allow_open: bool = False
    require_key: bool = False
    allowed_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    rate: float | None = None
    burst: int | None = None


def plan_access(layout: Layout, listening: str, options: AccessOptions) -> Access:
    """Decide it for a service that listens on an address, such as `0.0.0.0`.

    Raises UsageError where the service would have to ask for keys and there are none, IndexDataError where they can
    not be read.
    """
    if options.allow_open and options.require_key:
        raise UsageError("--allow-open and --require-key are opposites", remedy="give one of them")
    keys = options.require_key or not (options.allow_open or is_loopback(listening))
    if keys:
        _refuse_without_keys(layout, listening, options)
    rate = options.rate
    return Access(
        keys=keys,
        hosts=plan_hosts(listening, options.allowed_hosts),
        origins=tuple(check_origin(origin) for origin in options.cors_origins),
        rate=rate,
        burst=options.burst or max(_LEAST_BURST, int(2 * rate) if rate else 0),
    )


def _refuse_without_keys(layout: Layout, listening: str, options: AccessOptions) -> None:
    instead = (
        "leave --require-key out"
        if options.require_key
        else "let whoever reaches the port do anything with --allow-open"
    )
    create = f"`crossmatch key create --scope read --index {layout.folder}`"
    if not layout.is_index():  # nor could a key be made for it
        raise UsageError(
            f"a service on {listening} asks for a key, and there is no index yet that could have one",
            where=layout.folder,
            remedy="make the index first (`crossmatch index build`; a demo: run it once without --host), then a key "
            f"with {create}, or {instead}",
        )
    now = datetime.now(UTC)
    if not any(key.is_valid(now) for key in read_keys(layout)):
        raise UsageError(
            f"a service on {listening} asks for a key, and there is none",
            where=layout.folder,
            remedy=f"make one with {create}, or {instead}",
        )
