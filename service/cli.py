"""The service's commands: `serve` and `demo`."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from service.logs import LogFormat, LogLevel, writing_logs

IndexOption = Annotated[Path, typer.Option("--index", help="The index folder.", metavar="DIR", show_default=False)]
HostOption = Annotated[str, typer.Option("--host", help="The address to listen on.")]
PortOption = Annotated[int, typer.Option("--port", help="The port to listen on.", min=0, max=65535)]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="Encoder threads; one a core by default.")]
AllowOpenOption = Annotated[
    bool, typer.Option("--allow-open", help="Answer a network without keys: whoever reaches the port may do anything.")
]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="Lines for people, or JSON objects.")]
LogLevelOption = Annotated[
    LogLevel, typer.Option("--log-level", help="How important a line must be; each request is info.")
]


def keep_to_one_thread() -> None:
    """Before numpy is imported: its BLAS starts no threads beside ours, which are a thread a core already."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def serve(
    index: IndexOption,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    threads: ThreadsOption = None,
    batch: Annotated[
        int,
        typer.Option("--batch", min=1, max=1024, help="Pictures encoded at once, on an accelerator only."),
    ] = 16,
    waiting: Annotated[int, typer.Option("--waiting", min=1, help="Searches at once; beyond that, 429.")] = 64,
    writes_waiting: Annotated[
        int, typer.Option("--writes-waiting", min=1, help="Writes at once; beyond that, 429.")
    ] = 16,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0.1, help="Seconds to wait for a thread; beyond that, 503.")
    ] = 10.0,
    max_bytes: Annotated[int, typer.Option("--max-bytes", min=1, help="Bytes of one picture.")] = 32 * 2**20,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, max=178_000_000, help="Pixels of one picture.")
    ] = 50_000_000,
    allow_open: AllowOpenOption = False,
    require_key: Annotated[
        bool, typer.Option("--require-key", help="Ask for keys on loopback, too, as behind a proxy.")
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="A name the service is called by; may be repeated.",
            show_default=False,
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin", metavar="ORIGIN", help="A web site that may ask; may be repeated.", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=0.001, max=1e6, help="Requests a second of one key; no limit by default.", show_default=False
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            "--burst",
            min=1,
            max=10**6,
            help="Requests of one key at once; by default 60, or twice the rate.",
            show_default=False,
        ),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
    attribution_file: Annotated[
        Path | None,
        typer.Option("--attribution-file", help="The page shows its text, if it is there.", show_default=False),
    ] = None,
) -> None:
    """Serve an index over HTTP, with the search page at / and the API's documentation at /docs.

    Examples:

        \b
        crossmatch serve --index products.index
        crossmatch serve --index products.index --port 9000
        crossmatch serve --index products.index --host 0.0.0.0 --allowed-host search.example.com --rate 20
        CROSSMATCH_PORT=9000 crossmatch serve --index products.index
    """
    keep_to_one_thread()
    from index.images import ImageLimits
    from index.layout import Layout
    from service.access.policy import AccessOptions, plan_access
    from service.batching import Batching
    from service.server import ending_in_order, listen, run_server
    from service.settings import Settings, read_attribution

    limits = ImageLimits(max_bytes=max_bytes, max_pixels=max_pixels)
    as_json = log_format is LogFormat.JSON
    announce = logging.getLogger("service").info if as_json else partial(typer.echo, err=True)
    options = AccessOptions(allow_open, require_key, allowed_host or (), cors_origin or (), rate, burst)
    with ending_in_order(), writing_logs(log_format, log_level), listen(host, port) as socket:
        access = plan_access(Layout(index), socket.getsockname()[0], options)
        attribution = read_attribution(attribution_file) if attribution_file else None
        settings = Settings(
            index,
            threads=threads,
            batching=Batching(size=batch),
            waiting=waiting,
            writes_waiting=writes_waiting,
            deadline_seconds=deadline,
            limits=limits,
            access=access,
            attribution=attribution,
        )
        run_server(settings, socket, lambda url: announce(f"Serving {index} at {url} (stop with Ctrl-C)"))


def demo(
    images: Annotated[
        Path | None, typer.Option("--images", help="Your own folder or CSV of pictures.", show_default=False)
    ] = None,
    port: PortOption = 8000,
    home: Annotated[Path, typer.Option("--home", help="Where the model and the index are kept.")] = Path(".crossmatch"),
    host: HostOption = "127.0.0.1",
    allow_open: AllowOpenOption = False,
) -> None:
    """Sample pictures, or your own -> an index -> the search page, in one command.

    Answers from the first few hundred pictures on, while the rest are indexed. A second run finds its work done.

    Examples:

        \b
        crossmatch demo
        crossmatch demo --images ~/Pictures --port 9000
    """
    from dataclasses import replace

    from index.layout import Layout
    from service.access.policy import AccessOptions, plan_access
    from service.demo import DemoPlan, run_demo
    from service.server import ending_in_order, listen

    with ending_in_order(), writing_logs(LogFormat.TEXT, LogLevel.WARNING), listen(host, port) as socket:
        plan = DemoPlan(home=home, images=images)
        access = plan_access(Layout(plan.index), socket.getsockname()[0], AccessOptions(allow_open=allow_open))
        run_demo(replace(plan, access=access), socket)
