"""Pictures of several requests, encoded in one go: for accelerators, where a batch costs little more than one picture.

Behind the interface of `Encoder`, so that nothing else knows of it. Size and wait are bounded: the first picture of a
batch waits at most a few milliseconds for others, and none where as many are there as fit. One bad picture never fails
its batch: where a batch fails, each of its pictures is encoded by itself.
What may change here: how a batch is gathered. On a CPU there is none (`docs/decisions/0003-single-thread-sessions.md`).
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from index.bundle import Bundle
from index.encoder import Encoder
from index.errors import BundleFormatError, VectorError
from index.images import ImageLimits
from index.types import Vectors, unit_vectors

# With what they are opened: full float32, or the golden pictures would come out otherwise.
_ACCELERATORS: dict[str, dict[str, str]] = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "ROCMExecutionProvider": {},
    "MIGraphXExecutionProvider": {},
}
_WAIT_LONGEST = 60.0  # seconds for a batch that was begun


@dataclass(frozen=True)
class Batching:
    """How pictures are gathered."""

    provider: str | None = None  # ONNX Runtime's name; None: an accelerator's if it has one, else no batching
    size: int = 16  # pictures at most
    wait_seconds: float = 0.002  # that the first one waits for others

    def choose_provider(self) -> str | None:
        """The execution provider that batches are for; None on a CPU."""
        if self.provider is not None:
            return self.provider
        return next((name for name in ort.get_available_providers() if name in _ACCELERATORS), None)


@dataclass(frozen=True)
class _Request:
    pixels: NDArray[np.float32]  # (3, s, s)
    answer: Future[Vectors]


class _Engine:
    """The session, and the queue before it: what the thread knows of its batcher, which may be let go meanwhile."""

    def __init__(self, bundle: Bundle, plan: Batching, provider: str) -> None:
        self.bundle, self.plan, self.provider = bundle, plan, provider
        self.waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self.open()

    def open(self) -> None:
        """A new session. Raises BundleFormatError."""
        providers: list[Any] = [(self.provider, _ACCELERATORS.get(self.provider, {}))]
        providers += [] if self.provider == "CPUExecutionProvider" else ["CPUExecutionProvider"]
        path = self.bundle.model_path
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise BundleFormatError("ONNX Runtime can not load the model", where=path, found=error) from error
        if self.provider not in self.session.get_providers():
            raise BundleFormatError("ONNX Runtime can not use the accelerator", where=path, expected=self.provider)

    def serve(self) -> None:
        """Batch after batch, until told to end."""
        while (first := self.waiting.get()) is not None:
            batch, ended = self._gather(first)
            self._answer(batch)
            if ended:
                return

    def _gather(self, first: _Request) -> tuple[list[_Request], bool]:
        batch, end = [first], time.monotonic() + self.plan.wait_seconds
        while len(batch) < self.plan.size:
            try:
                following = self.waiting.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if following is None:
                return batch, True
            batch.append(following)
        return batch, False

    def _answer(self, batch: Sequence[_Request]) -> None:
        try:
            rows = self._run(np.stack([one.pixels for one in batch]))
        except BaseException as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(self._explain(error))
                return
            for one in batch:  # one of them may be to blame, and the others are not
                self._answer([one])
            return
        for one, row in zip(batch, rows, strict=True):
            try:
                one.answer.set_result(np.asarray(unit_vectors(row[None], where=self.bundle.model_path)[0]))
            except VectorError as error:
                one.answer.set_exception(error)

    def _run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self.session.run(["embedding"], {"image": pixels})[0]
        expected = (len(pixels), self.bundle.manifest.embedding_size)
        if output.shape != expected:
            raise VectorError("wrong size of output", where=self.bundle.model_path, expected=expected)
        return output

    def _explain(self, error: BaseException) -> Exception:
        if isinstance(error, VectorError):
            return error
        return BundleFormatError("the model can not be run", where=self.bundle.model_path, found=error)


class Batcher:
    """One session on an accelerator, shared by as many encoders as are wanted."""

    def __init__(self, bundle: Bundle, plan: Batching, provider: str, limits: ImageLimits | None = None) -> None:
        """Raises BundleFormatError where the provider can not run the model."""
        self._limits = limits
        self._engine = _Engine(bundle, plan, provider)
        threading.Thread(target=self._engine.serve, name="batches", daemon=True).start()
        weakref.finalize(self, self._engine.waiting.put, None)

    def make_encoder(self) -> Encoder:
        """For one thread at a time, like any."""
        return BatchedEncoder(self, self._engine, self._limits)

    def reopen(self) -> Encoder:
        """An encoder on a new session; those that there are use it too."""
        self._engine.open()
        return self.make_encoder()


class BatchedEncoder(Encoder):
    """Decodes and preprocesses on its own thread; its pictures are encoded along with others'."""

    def __init__(self, batcher: Batcher, engine: _Engine, limits: ImageLimits | None) -> None:
        self._batcher = batcher  # which lives as long as its encoders
        self._engine = engine
        self.bundle = engine.bundle
        self.limits = limits or ImageLimits()

    def encode(self, pixels: NDArray[np.float32]) -> Vectors:
        """(d,) float32 unit vector of one preprocessed picture (3, s, s). Raises VectorError or BundleFormatError."""
        answer: Future[Vectors] = Future()
        self._engine.waiting.put(_Request(pixels, answer))
        try:
            return answer.result(_WAIT_LONGEST)
        except TimeoutError as error:
            raise BundleFormatError("the accelerator does not answer", where=self.bundle.model_path) from error
