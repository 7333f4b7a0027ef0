"""Which names a request may call the service by: a web site that points its own name at this machine gets no answer.

DNS rebinding needs a name, so that an address written as numbers is never one. What may change here: which names are
known without being told.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from index.errors import UsageError

_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(?::(\d{1,5}))?")
_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
LOOPBACK_NAMES = ("localhost",)


@dataclass(frozen=True)
class Hosts:
    """The names, and whether the address may be that of any network card or loopback alone."""

    names: tuple[str, ...] = LOOPBACK_NAMES  # lower case; `*.` in front: every name below
    any_address: bool = False

    def allows(self, header: str) -> bool:
        """Whether a Host header names this service."""
        host, _ = split_authority(header)
        if host is None:
            return False
        address = parse_address(host)
        if address is not None and (self.any_address or address.is_loopback):
            return True
        return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in self.names)


def split_authority(text: str) -> tuple[str | None, str | None]:
    """`HOST[:PORT]` -> host in lower case without its last dot, and port; (None, None) where it is neither."""
    found = _AUTHORITY.fullmatch(text.strip())
    return (found[1].lower().rstrip("."), found[2]) if found else (None, None)


def parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A host that is written as numbers, with or without brackets; None where it is a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    """Whether an address that is listened on is reached from this machine alone."""
    parsed = parse_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return mapped is not None and mapped.is_loopback


def plan_hosts(listening: str, allowed: Iterable[str]) -> Hosts:
    """What a service on this address is called. Raises UsageError for an allowed host that is no name."""
    names = [check_name(name) for name in allowed]
    if is_loopback(listening):
        return Hosts((*LOOPBACK_NAMES, *names))
    return Hosts((*LOOPBACK_NAMES, socket.gethostname().lower(), *names), any_address=True)


def check_name(name: str) -> str:
    """A name for `--allowed-host`, in lower case. Raises UsageError."""
    lowered = name.strip().lower().rstrip(".")
    if parse_address(lowered) is None and not _NAME.fullmatch(lowered):
        raise UsageError(
            "no host name",
            where=f"--allowed-host {name}",
            expected="a name such as search.example.com or *.example.com, without a port",
        )
    return lowered
