"""A request's pictures and parameters -> a search, with the work that an encoder thread does for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from index.crops import Crop
from index.encoder import Encoder
from index.queries import Bounds, Page, Query
from index.searcher import Searcher
from index.types import SearchResult
from service.engine import Engine

_ANYTHING = Query()


@dataclass(frozen=True)
class Question:
    """What one search asks."""

    views: tuple[bytes, ...]  # picture files to be near to
    page: Page
    bounds: Bounds
    negatives: tuple[bytes, ...] = ()  # picture files to be far from
    crop: Crop | None = None  # of the one view
    query: Query = _ANYTHING  # ids of items, and the strategy

    def answer(self, encoder: Encoder, searcher: Searcher) -> SearchResult:
        """On an encoder thread. Raises what `Encoder.encode_bytes` and `Searcher.ask` raise."""
        encoded = replace(
            self.query,
            positives=tuple(encoder.encode_bytes(data, self.crop) for data in self.views),
            negatives=tuple(encoder.encode_bytes(data) for data in self.negatives),
            model=encoder.bundle.manifest.model_id if self.views or self.negatives else None,
        )
        return searcher.ask(encoded, self.page, self.bounds)


async def answer_question(engine: Engine, question: Question) -> dict[str, Any]:
    """The answer as JSON. Raises what `Question.answer` raises."""
    started = time.perf_counter()
    result = await engine.run(question.answer)
    return result.to_json((time.perf_counter() - started) * 1000)
