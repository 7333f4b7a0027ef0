"""Encoders of one model, a thread a core, each known to be sound: warm, checked from time to time, opened anew if not.

What may change here: how often and with what a session is checked. Not: that a picture is only encoded by one which
last gave the vector that its bundle promises, and that nobody waits for encoders when there are none.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from index.bundle import Bundle, read_golden
from index.encoder import Encoder, verify_golden
from index.encoder_pool import EncoderPool
from index.errors import BundleError, CrossmatchError, VectorError
from index.images import ImageLimits
from service.batching import Batcher, Batching
from service.problems import EncoderSickError

_STUCK_SECONDS = 60.0  # at one picture
_PATIENCE_SECONDS = 1.0  # between looks at whether any encoder is left to wait for
_log = logging.getLogger(__name__)


class Sessions(EncoderPool):
    """A pool whose encoders are looked after."""

    def __init__(
        self,
        bundle: Bundle,
        size: int | None = None,
        limits: ImageLimits | None = None,
        batching: Batching | None = None,
    ) -> None:
        """Each has encoded a golden picture rightly when this returns. Raises BundleError.

        `batching`: how, if there is an accelerator; then there are twice as many encoders as a batch has pictures, so
        that one batch is decoded while another is encoded.
        """
        batching = batching or Batching()
        provider = batching.choose_provider()
        self._batcher = Batcher(bundle, batching, provider, limits) if provider else None
        if self._batcher is not None:
            size = size or 2 * batching.size
        super().__init__(bundle, size, limits, self._batcher.make_encoder if self._batcher else None)
        self._golden = read_golden(bundle)
        self._limits = limits
        self._lock = threading.Lock()
        self._lost = 0  # sick ones that could not be opened anew
        self._reason = ""
        self._busy: dict[int, float] = {}  # encoder -> since when
        for _ in range(self.size):  # they come in turn
            with super().borrow() as encoder:
                self._check(encoder)

    def _check(self, encoder: Encoder) -> None:
        verify_golden(encoder, first=1, golden=self._golden)

    @contextmanager
    def borrow(self) -> Iterator[Encoder]:
        """An encoder for this thread alone. Raises EncoderSickError where there is no sound one."""
        encoder = self._take()
        self._busy[id(encoder)] = time.monotonic()
        try:
            yield encoder
        except BaseException as error:
            # A strange picture, a sick session, or a thread's death in the middle of it: the golden picture tells.
            if isinstance(error, BundleError | VectorError) or not isinstance(error, Exception):
                self._busy.pop(id(encoder), None)
                self._examine(encoder)
                raise
            self._give_back(encoder)
            raise
        else:
            self._give_back(encoder)

    def _take(self) -> Encoder:
        while True:
            if self._lost >= self.size:
                raise EncoderSickError("no encoder gives the vectors that it should", found=self._reason)
            try:
                return self._free.get(timeout=_PATIENCE_SECONDS)
            except queue.Empty:
                continue

    def _give_back(self, encoder: Encoder) -> None:
        self._busy.pop(id(encoder), None)
        self._free.put(encoder)

    def _examine(self, encoder: Encoder) -> bool:
        """Put an encoder back if it is sound, or a new one in its place; False if neither could be."""
        try:
            self._check(encoder)
        except CrossmatchError as error:
            _log.warning("an encoder is opened anew: %s", error)
            return self._replace()
        self._free.put(encoder)
        return True

    def _replace(self) -> bool:
        try:
            encoder = self._batcher.reopen() if self._batcher else Encoder(self.bundle, self._limits)
            self._check(encoder)
        except (CrossmatchError, OSError) as error:
            with self._lock:
                self._lost += 1
                self._reason = str(error.reason if isinstance(error, CrossmatchError) else error)
            return False
        self._free.put(encoder)
        return True

    def probe(self) -> str | None:
        """Have each encoder that is not at work encode a golden picture; what is wrong, or None.

        Those that were lost are opened anew first. Takes one encoder at a time, so that searches go on.
        """
        with self._lock:
            lost, self._lost = self._lost, 0
        for _ in range(lost):
            self._replace()
        self._probe_each()
        if self._lost:
            return f"{self._lost} of {self.size} encoders are sick: {self._reason}"
        now = time.monotonic()
        stuck = [now - since for since in list(self._busy.values()) if now - since > _STUCK_SECONDS]
        return f"{len(stuck)} of {self.size} encoders are stuck for {max(stuck):.0f} s" if stuck else None

    def _probe_each(self) -> None:
        seen: set[int] = set()
        for _ in range(4 * self.size):  # under load, the same one may come again
            try:
                encoder = self._free.get(timeout=_PATIENCE_SECONDS)
            except queue.Empty:
                return
            if id(encoder) in seen:
                self._free.put(encoder)
            else:
                seen.add(id(encoder))
                self._examine(encoder)
            if len(seen) >= self.size - self._lost:
                return
