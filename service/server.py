"""A socket and settings -> a running server, until it is told to stop."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from index.errors import UsageError
from service.app import create_app
from service.connections import BoundedProtocol, plan_connections
from service.engine import Engine
from service.settings import Settings

_REFUSALS = {  # of the operating system: what is wrong, and what to do
    errno.EADDRINUSE: ("the port is in use", "stop what uses it, or give another port"),
    errno.EADDRNOTAVAIL: ("this machine does not have the address", "give another --host"),
    errno.EACCES: ("this user may not have the port", "give a port above 1023"),
}
_DRAIN_SECONDS = 10  # that running requests may still take once the server is told to stop


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, taken before any long work begins. Raises UsageError if the address can not be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError("no such address", where=host, found=error, remedy="give another --host") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)  # also finds a port that another process listens on
    except OSError as error:
        bound.close()
        what, remedy = _REFUSALS.get(error.errno or 0, ("the address can not be had", "give another --host or --port"))
        raise UsageError(what, where=f"{host}:{port}", found=error.strerror, remedy=remedy) from error
    return bound


def address_of(bound: socket.socket) -> str:
    """The address that a browser goes to."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def ending_in_order() -> Iterator[None]:
    """SIGTERM ends what is inside as an exception does, so that files are closed and builds are not left running.

    Uvicorn handles it while it serves, and raises it again for this handler once running requests are answered.
    """

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    former = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def holding_off_the_end() -> Iterator[None]:
    """SIGTERM waits until what is inside is done: the process that it starts must be known to who ends it."""
    told: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
        if told:
            signal.raise_signal(told[0])


class _Server(uvicorn.Server):
    """One whose `/readyz` says no from the moment that it is told to stop."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take no more connections, and let what is under way end."""
        self._engine.stopping = True
        super().handle_exit(sig, frame)


def run_server(settings: Settings, bound: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `on_ready` is told the address. Raises what opening the index raises."""

    class Protocol(BoundedProtocol):
        most_connections = plan_connections()

    with Engine(settings) as engine:
        config = uvicorn.Config(
            create_app(settings, engine),
            log_config=None,  # the root's handler writes its lines, too
            access_log=False,  # `service.observation` has a line a request
            http=Protocol,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        on_ready(address_of(bound))
        _Server(config, engine).run(sockets=[bound])
