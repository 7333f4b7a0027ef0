"""What answers a query in this process: the index's searcher, and a thread a core, each with its own encoder.

What may change here: how work is queued. Not: that the queue is bounded and that blocking work stays off the event
loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import faiss

from index.additions import IndexEditor
from index.catalog_writer import CatalogWriter
from index.creation import is_building
from index.encoder import Encoder, verify_golden
from index.encoder_pool import EncoderPool
from index.errors import ModelMismatchError
from index.originals import PictureFile, read_original, read_thumbnail
from index.searcher import Searcher
from service.admission import Gates
from service.maintenance import Maintenance
from service.settings import Settings
from service.workers import Workers

Result = TypeVar("Result")


def keep_to_one_thread() -> None:
    """The calling thread is one of a thread a core, so FAISS starts none of its own for it."""
    faiss.omp_set_num_threads(1)


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
        self._workers = Workers(self.encoders.size, keep_to_one_thread)
        self._files = ThreadPoolExecutor(4, thread_name_prefix="files")  # pictures never wait behind searches
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="write")  # writers of an index take turns anyway
        self._maintenance = Maintenance(self.searcher, settings.housekeeping_seconds)
        self.gates = Gates(settings.waiting, settings.writes_waiting)
        self._swapping = threading.Lock()

    def close(self) -> None:
        """Let running work end, then let go of the index."""
        self._maintenance.close()
        self._writes.shutdown(cancel_futures=True)
        self._workers.close()
        self._files.shutdown(cancel_futures=True)
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
        return await self._workers.run(lambda: self._with_encoder(work), self.settings.deadline_seconds)

    def _with_encoder(self, work: Callable[[Encoder, Searcher], Result]) -> Result:
        encoders = self.encoders
        try:
            with encoders.borrow() as encoder:
                return work(encoder, self.searcher)
        except ModelMismatchError:  # another model's generation answers now
            with self._swap(encoders).borrow() as encoder:
                return work(encoder, self.searcher)

    def _swap(self, old: EncoderPool) -> EncoderPool:
        """Encoders of the active generation's model; whoever comes first loads them, the others wait."""
        with self._swapping:
            if self.encoders is old:
                self.encoders = _open_encoders(self.searcher, self.settings)
            return self.encoders

    async def write(self, change: Callable[[IndexEditor], Result]) -> Result:
        """Change the index; what `change` did is durable, and found by every search, when this returns.

        `outcome = await engine.write(lambda editor: editor.put(...))`. Writes take turns on a thread of their own.

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
        return await asyncio.get_running_loop().run_in_executor(threads, work)
