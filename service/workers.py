"""Threads that do the heavy work of requests, and never leave one waiting.

A job is claimed exactly once: by the thread that does it, by the clock when its deadline passes first, or by whoever
waited for it and has gone. A thread that dies answers its job with an error and is replaced.
What may change here: the order of the queue. Not: that every job gets an answer.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from service.problems import DeadlineError, WorkerDiedError

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Job(Generic[Result]):
    """Work for a thread, and the future of whoever waits for it on the event loop."""

    def __init__(self, work: Callable[[], Result]) -> None:
        """On the event loop."""
        self._work = work
        self._context = copy_context()  # a line of the log has the request's id on the thread, too
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Result] = self._loop.create_future()
        self._claim = threading.Lock()  # taken once and never let go

    def claim(self) -> bool:
        """Whether the caller is the first; then it alone answers."""
        return self._claim.acquire(blocking=False)

    def perform(self) -> None:
        """Do the work on this thread, unless nobody waits for it any more. Raises only what ends the thread."""
        if not self.claim():
            return
        try:
            result = self._context.run(self._work)
        except Exception as error:
            self._answer(self._fail, error)
        except BaseException as error:
            self._answer(self._fail, WorkerDiedError("a thread of the service died", found=type(error).__name__))
            raise
        else:
            self._answer(self._succeed, result)

    def expire(self, seconds: float) -> None:
        """On the event loop, when the deadline passes."""
        if self.claim():
            self._fail(DeadlineError("the service is too busy", expected=f"a free thread within {seconds:g} s"))

    def abandon(self) -> None:
        """From any thread, when the service ends before the work began."""
        if self.claim():
            self._answer(self._fail, WorkerDiedError("the service is stopping"))

    def _answer(self, give: Callable[[Any], None], what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(give, what)
        except RuntimeError:  # the loop was closed: nobody waits
            _log.debug("an answer came after the end")

    def _succeed(self, result: Result) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Workers:
    """A fixed number of threads and the queue before them."""

    def __init__(self, count: int, prepare: Callable[[], None] = lambda: None) -> None:
        """`prepare`: called on each thread before its first job."""
        self.count = count
        self._prepare = prepare
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._closed = False
        for _ in range(count):
            self._start_thread()

    def _start_thread(self) -> None:
        with self._lock:
            if self._closed:
                return
            thread = threading.Thread(target=self._serve, name="encoder", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _serve(self) -> None:
        try:
            self._prepare()
            while (job := self._queue.get()) is not None:
                job.perform()
                del job  # or its pictures would live until the next
        except BaseException as error:  # SystemExit, or a bug of a job's: the others must not notice
            _log.error("an encoder thread died and is replaced", exc_info=error)
            self._start_thread()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun."""
        return self._queue.qsize()

    async def run(self, work: Callable[[], Result], seconds: float) -> Result:
        """What `work` gives on one of the threads; it is not begun once `seconds` have passed or the caller is gone.

        Raises DeadlineError, WorkerDiedError, or what `work` raises.
        """
        job = Job(work)
        alarm = asyncio.get_running_loop().call_later(seconds, job.expire, seconds)
        self._queue.put(job)
        if self._closed:
            job.abandon()
        try:
            return await job.future
        finally:
            alarm.cancel()
            job.claim()  # cancelled: whatever was not begun never is

    def close(self) -> None:
        """Let running jobs end; those that wait are answered with an error."""
        self._closed = True
        with self._lock:
            threads = list(self._threads)
        while not self._queue.empty():
            job = self._queue.get()
            if job is not None:
                job.abandon()
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join()
