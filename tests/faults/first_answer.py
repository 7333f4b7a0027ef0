"""A process that opens an index and answers one question: what a restart costs, imports and all.

python -m tests.faults.first_answer INDEX        prints items, unsealed pictures, results
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from index.searcher import Searcher


def main() -> None:
    """Open, ask, print."""
    with Searcher(Path(sys.argv[1])) as searcher:
        generation = searcher.generation
        query = np.full(generation.embedding_size, generation.embedding_size**-0.5, dtype=np.float32)
        result = searcher.search(query, 10, model=generation.model_id)
        sys.stdout.write(f"{result.index.size} {searcher.unsealed()[0]} {len(result.matches)}\n")


if __name__ == "__main__":
    main()
