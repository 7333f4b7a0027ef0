"""A process that searches an index all the while it is written to and killed, and checks every answer.

What was acknowledged before a question must be in the answer; what was acknowledged as removed must not.
What may change here: the questions. Not: that an answer is judged by what was acknowledged before and after it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index.errors import ModelMismatchError
from index.layout import Layout
from index.queries import MAX_K
from index.searcher import Searcher
from index.types import SearchResult, Vectors
from tests.faults.gallery import Gallery
from tests.faults.plans import World, possible_states
from tests.faults.processes import Board

_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Reading:
    """What a reader goes by."""

    folder: Path
    gallery: Gallery
    worlds: Sequence[World]  # after 0, 1, ... acknowledged operations
    board: Board
    seed: int


def read_on(reading: Reading) -> None:
    """Search until the board says stop, and once more after that. Raises AssertionError for a wrong answer."""
    chance = random.Random(reading.seed)
    board = reading.board
    while not Layout(reading.folder).is_index():
        assert not reading.worlds[board.read("acknowledged")], "no index, though writes were acknowledged"
        if board.read("stopping"):
            return
    with Searcher(reading.folder) as searcher:
        stopping = False
        while not stopping:
            stopping = bool(board.read("stopping"))
            ask(searcher, reading, chance.randrange(len(reading.gallery.files)))
            board.write("answers", board.read("answers") + 1)


def ask(searcher: Searcher, reading: Reading, content: int) -> None:
    """One question, and whether its answer fits what was acknowledged."""
    while True:
        before = reading.board.read("acknowledged")
        model = reading.gallery.model_of(searcher.generation.model_id)
        query = reading.gallery.vectors[model][content]
        try:
            result = searcher.search(query, MAX_K, model=reading.gallery.bundles[model].manifest.model_id)
        except ModelMismatchError:  # swapped between the two calls
            continue
        after = reading.board.read("acknowledged")
        judge(result, reading.worlds[before : after + 2], reading.gallery.vectors[model], query)
        return


def judge(result: SearchResult, worlds: Sequence[World], vectors: Sequence[Vectors], query: Vectors) -> None:
    """Raises AssertionError unless a world between the first and the last of `worlds` can have given the answer."""
    possible = possible_states(worlds)
    found = {match.item.key: match for match in result.matches}
    assert len(found) == len(result.matches), "a duplicate"
    assert len({match.item.id for match in result.matches}) == len(found), "an item twice"
    assert result.index.size == len(found), f"{len(found)} results of {result.index.size} items"
    for states in possible.values():
        keys = {held.key for held in states if held is not None}
        assert None in states or keys & set(found), f"missing: {keys}"
    for key, match in found.items():
        fitting = [held for states in possible.values() for held in states if held is not None and held.key == key]
        assert fitting, f"phantom: {key}"
        scores = [
            float(vectors[held.content] @ query)
            for held in fitting
            if (held.label, held.version) == (match.item.label, match.item.version)
        ]
        assert any(abs(match.score - score) < _ROUNDING for score in scores), f"{key}: {match} is not one of {fitting}"
    order = [(-match.score, match.item.id) for match in result.matches]
    assert order == sorted(order), "not in order"
