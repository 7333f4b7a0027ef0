"""What answers a query in this process: the index's searcher, and a thread a core, each with its own encoder.

What may change here: how work is queued. Not: that the queue is bounded and that blocking work stays off the event
loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import TypeVar

import faiss

from index.additions import IndexEditor
from index.catalog_writer import CatalogWriter
from index.compaction import CompactionReport, compact_index
from index.creation import is_building
from index.encoder import Encoder
from index.errors import ModelMismatchError
from index.measurements import Observer, observing, timing
from index.originals import PictureFile, read_original, read_thumbnail
from index.published import publish
from index.searcher import Searcher
from service.admission import Gates
from service.maintenance import Duty, Maintenance
from service.models import Models
from service.observation import note_worked
from service.problems import CompactingError
from service.settings import Settings
from service.turns import Turns
from service.workers import Workers

Result = TypeVar("Result")
_LOOK_SECONDS = 0.2  # between looks at whether another generation is about to answer
_TURNS = 16  # items' pictures in memory, and as many lists; thumbnails are small
_SWAPS = 3  # during one query, before the last attempt
_log = logging.getLogger(__name__)


def keep_to_one_thread() -> None:
    """The calling thread is one of a thread a core, so FAISS starts none of its own for it."""
    faiss.omp_set_num_threads(1)


class Engine:
    """Everything heavy that a service holds, opened once."""

    def __init__(self, settings: Settings) -> None:
        """Open the index, check its model against the golden pictures, warm every encoder.

        Raises IndexDataError or BundleError: the service must not start.
        """
        self.settings = settings
        self.searcher = Searcher(settings.index)
        try:
            self.models = Models(self.searcher, settings)
        except BaseException:
            self.searcher.close()
            raise
        self._workers = Workers(self.models.current.size, keep_to_one_thread)
        self._files = ThreadPoolExecutor(4, thread_name_prefix="files")  # readiness and lists wait behind nothing
        self._pictures = ThreadPoolExecutor(4, thread_name_prefix="pictures")  # nor do pictures behind searches
        self.pictures = Turns("pictures", _TURNS, settings.deadline_seconds)
        self.lists = Turns("lists", _TURNS, settings.deadline_seconds)
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="write")  # writers of an index take turns anyway
        self._compacting = threading.Lock()
        self.stopping = False  # set by the server once it is told to stop
        self._fault: str | None = None  # what the last probe found
        self._duties = (
            Maintenance(self.searcher, settings.housekeeping_seconds),
            Duty("models", self.models.prepare, _LOOK_SECONDS),
            Duty("probe", self._probe, settings.probe_seconds, at_once=False),
        )
        self.gates = Gates(settings.waiting, settings.writes_waiting)
        self.observe: Observer = lambda name, value: None  # who measures: set by the application that is served

    def close(self) -> None:
        """Let running work end, then let go of the index."""
        for duty in self._duties:
            duty.close()
        self._writes.shutdown(cancel_futures=True)
        self._workers.close()
        self._files.shutdown(cancel_futures=True)
        self._pictures.shutdown(cancel_futures=True)
        self.searcher.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def run(self, work: Callable[[Encoder, Searcher], Result]) -> Result:
        """What `work` gives on an encoder thread: whatever decodes, encodes or searches goes through here.

        `result = await engine.run(lambda encoder, searcher: search_views(searcher, encoder, views, k, bounds))`.
        It is not begun if the client has gone or `deadline_seconds` have passed. If another model's generation has
        become active it is done again with that model's encoder, so it must be free of side effects. The request's
        place among those that may wait was taken before the route was called (`service.admission`).

        Raises DeadlineError, WorkerDiedError, or what `work` raises.
        """
        queued = time.perf_counter()

        def measured() -> Result:
            self.observe("wait", time.perf_counter() - queued)
            with observing(self.observe):
                return self._with_encoder(work)

        try:
            return await self._workers.run(measured, self.settings.deadline_seconds)
        finally:
            note_worked()

    @property
    def queued(self) -> int:
        """Requests that wait for a thread."""
        return self._workers.waiting

    def _with_encoder(self, work: Callable[[Encoder, Searcher], Result]) -> Result:
        for _ in range(_SWAPS):
            try:
                with self.models.current.borrow() as encoder:
                    return work(encoder, self.searcher)
            except ModelMismatchError:  # another model's generation answers now
                self.models.follow()
        with self.models.current.borrow() as encoder:
            return work(encoder, self.searcher)

    async def find_fault(self) -> str | None:
        """Why no search should be sent here now, or None: what `/readyz` says.

        The encoders' part is what the last probe found, so that asking costs next to nothing. Raises IndexDataError
        or an OSError where the index can not be read now.
        """
        if self.stopping:
            return "the service is stopping"
        if self._fault is None:
            await self.ask(lambda searcher: searcher.info())
        return self._fault

    def _probe(self) -> None:
        self._fault = self.models.probe()
        if self._fault is not None:
            _log.warning("%s", self._fault)

    async def write(self, change: Callable[[IndexEditor], Result]) -> Result:
        """Change the index; what `change` did is durable, and found by every search, when this returns.

        `outcome = await engine.write(lambda editor: editor.put(...))`. Writes take turns on a thread of their own.

        Raises what the editor's methods raise.
        """

        def apply() -> Result:
            with observing(self.observe), timing("write"), CatalogWriter(self.searcher.layout.catalog) as catalog:
                return change(IndexEditor(self.searcher.layout, catalog, encoders=self.models.follow))

        return await self._run(self._writes, apply)

    async def compact(self) -> CompactionReport:
        """Seal, trim and clear, beside searches and writes. Raises CompactingError while another one runs here."""

        def work() -> CompactionReport:
            if not self._compacting.acquire(blocking=False):
                raise CompactingError("a compaction is under way already", remedy="wait for it to end")
            try:
                with CatalogWriter(self.searcher.layout.catalog) as catalog:
                    return compact_index(self.searcher.layout, catalog)
            finally:
                self._compacting.release()

        return await self._run(self._files, work)

    async def read_picture(self, item: int, *, thumbnail: bool) -> tuple[PictureFile, str]:
        """An item's picture or thumbnail, without metadata, and its content hash.

        Raises ItemNotFoundError or OriginalMissingError.
        """

        def read() -> tuple[PictureFile, str]:
            record = self.searcher.picture(item)
            reader = read_thumbnail if thumbnail else read_original
            file = reader(self.searcher.layout, record, self.settings.limits)
            return publish(file, self.settings.limits), record.content_hash

        return await self._run(self._pictures, read)

    async def ask(self, question: Callable[[Searcher], Result]) -> Result:
        """Ask the searcher something quick that needs no encoder (items, info), off the event loop.

        `item = await engine.ask(lambda searcher: searcher.item(id))`. Never waits behind searches or writes.
        """
        return await self._run(self._files, lambda: question(self.searcher))

    def read_building(self) -> dict[str, int] | None:
        """How far a build that is going on has come; None while there is none."""
        unfinished = [state for state in self.searcher.sources() if not state.complete]
        if not unfinished or not is_building(self.searcher.layout):
            return None
        return {"done": self.searcher.info().size, "total": sum(state.listed for state in self.searcher.sources())}

    @staticmethod
    async def _run(threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, work)
