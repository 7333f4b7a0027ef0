"""What answers a query in this process: the index's searcher, and a thread a core, each with its own encoder.

What may change here: how work is queued. Not: that the queue is bounded and that blocking work stays off the event
loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from index.additions import IndexEditor
from index.catalog_writer import CatalogWriter
from index.creation import is_building
from index.encoder import verify_golden
from index.encoder_pool import EncoderPool
from index.errors import ModelMismatchError
from index.originals import PictureFile, read_original, read_thumbnail
from index.searcher import Searcher, search_picture
from index.types import SearchResult
from service.maintenance import Maintenance
from service.problems import BusyError
from service.settings import Settings

Result = TypeVar("Result")


def _open_encoders(searcher: Searcher, settings: Settings) -> EncoderPool:
    """Encoders of the active generation's model, checked against a golden picture and warm."""
    encoders = EncoderPool(searcher.read_bundle(), settings.threads, settings.limits)
    for _ in range(encoders.size):  # encoders come in turn, so each runs once before the first query
        with encoders.borrow() as encoder:
            verify_golden(encoder, first=1)
    return encoders


class Engine:
    """Everything heavy that a service holds, opened once."""

    def __init__(self, settings: Settings) -> None:
        """Open the index, check its model against the golden pictures, warm every encoder.

        Raises IndexDataError or BundleError: the service must not start.
        """
        self.settings = settings
        self.searcher = Searcher(settings.index)
        try:
            self.encoders = _open_encoders(self.searcher, settings)
        except BaseException:
            self.searcher.close()
            raise
        self._threads = ThreadPoolExecutor(self.encoders.size, thread_name_prefix="search")
        self._files = ThreadPoolExecutor(4, thread_name_prefix="files")  # pictures never wait behind searches
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="write")  # writers of an index take turns anyway
        self._maintenance = Maintenance(self.searcher, settings.housekeeping_seconds)
        self._running = 0
        self._swapping = threading.Lock()

    def close(self) -> None:
        """Let running work end, then let go of the index."""
        self._maintenance.close()
        self._writes.shutdown(cancel_futures=True)
        self._threads.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)
        self.searcher.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Take one of the places for searches, from before a body is read: bodies that come in hold memory too.

        Raises BusyError when all are taken.
        """
        if self._running >= self.settings.waiting:
            raise BusyError(
                "too many searches at once", expected=f"at most {self.settings.waiting}", remedy="try again in a second"
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def search(self, data: bytes, k: int) -> tuple[SearchResult, float]:
        """The nearest items of a picture file, and the milliseconds from its bytes to the answer; inside `admit`."""
        started = time.perf_counter()
        result = await self._run(self._threads, lambda: self._search(data, k))
        return result, (time.perf_counter() - started) * 1000

    def _search(self, data: bytes, k: int) -> SearchResult:
        encoders = self.encoders
        try:
            with encoders.borrow() as encoder:
                return search_picture(self.searcher, encoder, data, k)
        except ModelMismatchError:  # another model's generation answers now
            with self._swap(encoders).borrow() as encoder:
                return search_picture(self.searcher, encoder, data, k)

    def _swap(self, old: EncoderPool) -> EncoderPool:
        """Encoders of the active generation's model; whoever comes first loads them, the others wait."""
        with self._swapping:
            if self.encoders is old:
                self.encoders = _open_encoders(self.searcher, self.settings)
            return self.encoders

    async def write(self, change: Callable[[IndexEditor], Result]) -> Result:
        """Change the index; what `change` did is durable, and found by every search, when this returns.

        Raises what the editor's methods raise.
        """

        def apply() -> Result:
            with CatalogWriter(self.searcher.layout.catalog) as catalog:
                return change(IndexEditor(self.searcher.layout, catalog, encoders=self._current_encoders))

        return await self._run(self._writes, apply)

    def _current_encoders(self) -> EncoderPool:
        encoders = self.encoders
        active = self.searcher.generation.model_id
        return encoders if encoders.bundle.manifest.model_id == active else self._swap(encoders)

    async def read_picture(self, item: int, *, thumbnail: bool) -> tuple[PictureFile, str]:
        """An item's picture or thumbnail, and its content hash. Raises ItemNotFoundError or OriginalMissingError."""

        def read() -> tuple[PictureFile, str]:
            record = self.searcher.picture(item)
            reader = read_thumbnail if thumbnail else read_original
            return reader(self.searcher.layout, record, self.settings.limits), record.content_hash

        return await self._run(self._files, read)

    async def ask(self, question: Callable[[Searcher], Result]) -> Result:
        """Ask the searcher something quick, off the event loop."""
        return await self._run(self._files, lambda: question(self.searcher))

    def read_building(self) -> dict[str, int] | None:
        """How far a build that is going on has come; None while there is none."""
        unfinished = [state for state in self.searcher.sources() if not state.complete]
        if not unfinished or not is_building(self.searcher.layout):
            return None
        return {"done": self.searcher.info().size, "total": sum(state.listed for state in self.searcher.sources())}

    @staticmethod
    async def _run(threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
