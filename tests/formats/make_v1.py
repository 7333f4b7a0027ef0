"""Makes `tests/formats/v1`: a small index of format 1 and what it answers. Run once a format, and never again after.

    python -m tests.formats.make_v1

What may change here: nothing once format 1 is released. A later format gets a script and a folder of its own.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx

from index.bundle import Bundle, Golden, write_bundle
from index.encoder import Encoder, open_session
from index.images import ImageLimits
from index.layout import Layout
from index.preprocess import preprocess_bytes
from index.searcher import Searcher
from index.types import unit_vectors
from tests.drawn_pictures import draw_picture
from tests.small_index import QUESTIONS, make_small_index
from tests.tiny_model import RULE, build_tiny_graph, describe_tiny

WORKSHOP = Path("/tmp/crossmatch-formats")  # a fixed path, since the catalogue names its sources by theirs
TARGET = Path(__file__).parent / "v1"


def main() -> None:
    """Make the index, ask it, and put both in place."""
    shutil.rmtree(WORKSHOP, ignore_errors=True)
    layout = make_small_index(WORKSHOP / "index", write_small_bundle(WORKSHOP / "bundle"), WORKSHOP / "pictures")
    expected = record_answers(layout)
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(layout.folder, TARGET / "index", ignore=shutil.ignore_patterns("reserve", "*.lock"))
    (TARGET / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(WORKSHOP)


def write_small_bundle(folder: Path) -> Bundle:
    """The tiny model with two small golden pictures."""
    pictures = (draw_picture("red", 3, "JPEG"), draw_picture("blue", 3, "JPEG"))
    with tempfile.TemporaryDirectory() as name:
        onnx.save(build_tiny_graph(), Path(name) / "model.onnx")
        session = open_session(Path(name) / "model.onnx")
        pixels = [preprocess_bytes(data, RULE, ImageLimits())[None] for data in pictures]
        rows = [session.run(["embedding"], {"image": one})[0] for one in pixels]
        golden = Golden(pictures, unit_vectors(np.concatenate(rows)))
        return write_bundle(folder, Path(name), golden, describe_tiny())


def record_answers(layout: Layout) -> list[dict[str, object]]:
    """Vectors, and the items that the index finds for each: exact numbers, whatever machine asks."""
    recorded = []
    with Searcher(layout.folder) as searcher:
        bundle = searcher.read_bundle()
        encoder = Encoder(bundle)
        for colour in QUESTIONS:
            query = encoder.encode_bytes(draw_picture(colour, 9))
            matches = searcher.search(query, 10, model=bundle.manifest.model_id).matches
            found = [
                [one.item.id, one.item.key, one.item.label, one.item.metadata, one.item.version, one.score]
                for one in matches
            ]
            recorded.append({"query": query.tolist(), "found": found})
    return recorded


if __name__ == "__main__":
    main()
