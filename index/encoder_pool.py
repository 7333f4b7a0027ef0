"""A thread a core, each with its own single-thread encoder: how many pictures are encoded at once.

What may change here: how work is handed to the threads. Results always come in the order of the inputs.
"""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from index.bundle import Bundle
from index.encoder import Encoder
from index.images import ImageLimits

Input = TypeVar("Input")
Output = TypeVar("Output")
_AHEAD = 4  # inputs in flight for each thread: enough that none waits, few enough that memory stays bounded


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EncoderPool:
    """Encoders that threads borrow, one thread an encoder at a time."""

    def __init__(
        self,
        bundle: Bundle,
        size: int | None = None,
        limits: ImageLimits | None = None,
        make: Callable[[], Encoder] | None = None,
    ) -> None:
        """`size`: encoders, a core each if None. `make`: gives one of another kind than a session of its own."""
        self.bundle = bundle
        self.size = size or usable_cores()
        self._free: queue.SimpleQueue[Encoder] = queue.SimpleQueue()
        for _ in range(self.size):
            self._free.put(make() if make else Encoder(bundle, limits))

    @contextmanager
    def borrow(self) -> Iterator[Encoder]:
        """An encoder for this thread alone; waits until one is free."""
        encoder = self._free.get()
        try:
            yield encoder
        finally:
            self._free.put(encoder)

    def map(
        self, work: Callable[[Encoder, Input], Output], inputs: Iterable[Input], ahead: int = _AHEAD
    ) -> Iterator[Output]:
        """`work(encoder, input)` for each input, on all encoders at once, in bounded memory, in order.

        `ahead`: inputs in flight for each thread; more of them where whoever takes the results stops to write.
        """

        def run(value: Input) -> Output:
            with self.borrow() as encoder:
                return work(encoder, value)

        pending: deque[Future[Output]] = deque()
        with ThreadPoolExecutor(self.size, thread_name_prefix="encoder") as threads:
            try:
                for value in inputs:
                    pending.append(threads.submit(run, value))
                    if len(pending) >= ahead * self.size:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
