"""The index of Grocery's shelf gallery: HTTP answers beside the command line's, and beside exact evaluation.

    python -m benchmarks.agreement --root ../shared/data/grocery [--model BUNDLE]

All 1,197 queries go to a running service and to the function behind `crossmatch search`, twenty of them through the
command itself; the answers must be equal to the last digit. Then the share of queries whose first result has their
label is printed beside `evaluate`'s R@1.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import describe_machine, print_table
from index.assessment import assess
from index.builder import build_index
from index.bundle import read_bundle
from index.datasets import Protocol, read_protocol
from index.encoder import Encoder
from index.model_export import export_pretrained
from index.searcher import Searcher, search_picture
from index.sources import read_source

K = 10
THROUGH_THE_COMMAND = 20


def write_gallery(protocol: Protocol, path: Path) -> None:
    """The gallery as a CSV manifest."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "key"))
        rows.writerows((picture.path.absolute(), picture.label, picture.key) for picture in protocol.gallery)


def ask_service(index: Path, protocol: Protocol) -> list[dict[str, Any]]:
    """The answers of `crossmatch serve`, in a process of its own."""
    command = [sys.executable, "-m", "crossmatch", "serve", "--index", str(index), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        address = re.search(r"http://\S+", service.stderr.readline())
        assert address is not None
        try:
            with httpx.Client(base_url=address[0], timeout=60) as client:
                return [_post(client, picture.path) for picture in protocol.queries]
        finally:
            service.terminate()


def _post(client: httpx.Client, picture: Path) -> dict[str, Any]:
    answer = client.post("/v1/search", params={"k": K}, files={"image": picture.read_bytes()})
    answer.raise_for_status()
    return dict(answer.json())


def ask_function(index: Path, protocol: Protocol) -> list[dict[str, Any]]:
    """The answers of the function that `crossmatch search` calls."""
    with Searcher(index) as searcher:
        encoder = Encoder(searcher.read_bundle())
        return [search_picture(searcher, encoder, p.path.read_bytes(), K).to_json(0.0) for p in protocol.queries]


def ask_command(index: Path, picture: Path) -> dict[str, Any]:
    """The answer of the command itself."""
    command = [
        sys.executable,
        "-m",
        "crossmatch",
        "search",
        str(picture),
        "--index",
        str(index),
        "-k",
        str(K),
        "--json",
    ]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def count_equal(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> int:
    """Answers that are the same in everything but the time they took."""
    return sum(a["results"] == b["results"] and a["index"] == b["index"] for a, b in zip(left, right, strict=True))


def main() -> None:
    """Measure and print; exit 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    print(describe_machine("onnxruntime", "faiss-cpu", "fastapi"))
    protocol = read_protocol("grocery", arguments.root, "shelf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model
        bundle = read_bundle(model) if model else export_pretrained("efficientnet_lite0", folder / "bundle")
        write_gallery(protocol, folder / "gallery.csv")
        build_index(read_source(folder / "gallery.csv"), bundle, folder / "index")
        http, function = ask_service(folder / "index", protocol), ask_function(folder / "index", protocol)
        places = range(0, len(protocol.queries), len(protocol.queries) // THROUGH_THE_COMMAND)[:THROUGH_THE_COMMAND]
        command = [ask_command(folder / "index", protocol.queries[place].path) for place in places]
        figures = assess(bundle, "grocery", protocol).figures
    right = sum(a["results"][0]["label"] == p.label for a, p in zip(http, protocol.queries, strict=True))
    equal, equal_command = count_equal(http, function), count_equal(command, [http[place] for place in places])
    rows: list[tuple[object, ...]] = [
        ("HTTP answers equal to the function's", f"{equal} of {len(http)}"),
        ("HTTP answers equal to the command's", f"{equal_command} of {len(command)}"),
        ("first result of the query's label, over HTTP", f"{right} of {len(http)} = {right / len(http):.6f}"),
        ("`evaluate`'s R@1", f"{figures.recall[1]:.6f}"),
    ]
    print_table(("measure", "value"), rows)
    sys.exit(equal != len(http) or equal_command != len(command) or right / len(http) != figures.recall[1])


if __name__ == "__main__":
    main()
