"""Two processes on one index: each sees what the other had acknowledged, at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from index.bundle import Bundle
from index.types import Vectors
from tests.vector_gallery import add_rows, draw_rows, expect, make_index, remove_items, replace_row, seal

ROOT = Path(__file__).parents[2]

_READER = """
import json, sys
from pathlib import Path
import numpy as np
from index.searcher import Searcher
with Searcher(Path(sys.argv[1])) as searcher:
    for line in sys.stdin:
        result = searcher.search(np.array(json.loads(line), dtype=np.float32), 10, model=searcher.generation.model_id)
        print(json.dumps([[match.item.id, match.score] for match in result.matches]), flush=True)
"""


def test_two_processes_see_each_acknowledged_write_at_once(tmp_path: Path, tiny_bundle: Bundle) -> None:
    """Additions, removals, replacements and seals by this process; the other was there before all of them."""
    layout = make_index(tmp_path / "index", tiny_bundle)
    living: dict[int, Vectors] = {}
    command = [sys.executable, "-c", _READER, str(layout.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for step, row in enumerate(draw_rows(30)):
            if step % 5 == 3:
                remove_items(layout, [step - 1])  # the newest but one
                del living[step - 1]
            if step % 7 == 6:
                replace_row(layout, f"{step - 1}-0", row)
                living[step] = row
            add_rows(layout, draw_rows(1, seed=100 + step), prefix=str(step))
            living[step + 1] = draw_rows(1, seed=100 + step)[0]
            if step % 6 == 5:
                seal(layout)
            other.stdin.write(json.dumps(row.tolist()) + "\n")
            other.stdin.flush()
            expected = expect(living, row, 10)
            assert [tuple(pair) for pair in json.loads(other.stdout.readline())] == expected
        other.stdin.close()
        assert other.wait(10) == 0
