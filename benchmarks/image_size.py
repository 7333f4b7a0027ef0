"""An image's size, layer by layer.

    python -m benchmarks.image_size [IMAGE ...]

Asks the container engine that `docker/compose` finds. Sizes are of the unpacked files, in millions of bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine, print_table

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = {  # of the folder that a layer is copied to
    "/": "Debian and Python",
    "/opt/crossmatch": "packages",
    "/opt/models": "the default model",
    "/pictures": "the sample pictures",
    "/usr/local/bin": "the indexer's loop and the health check",
    "/opt/application": "Crossmatch",
    "/configs": "training configurations",
}


@dataclass(frozen=True)
class Layer:
    """One step of a Dockerfile that brought files."""

    contents: str
    size: int  # bytes


def find_engine() -> str:
    """`docker` or `podman`; ends with the script's own line where there is none."""
    found = subprocess.run([ROOT / "docker/compose", "--engine"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(found.stderr.strip())
    return found.stdout.strip()


def read_layers(engine: str, image: str) -> list[Layer]:
    """The layers that are not empty, lowest first."""
    command = [engine, "history", "--no-trunc", "--human=false", "--format"]
    if engine == "podman":
        steps = json.loads(ask([*command, "json", image]))
        found = [(step["CreatedBy"], step["size"]) for step in steps]
    else:
        lines = ask([*command, "{{.Size}}\t{{.CreatedBy}}", image]).splitlines()
        found = [(step, int(size)) for size, step in (line.split("\t", 1) for line in lines)]
    return [Layer(name_contents(step), size) for step, size in reversed(found) if size]


def ask(command: list[str]) -> str:
    """What an engine's command prints; ends with its own line where it fails, as for an image that is not built."""
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(found.stderr.strip())
    return found.stdout


def name_contents(step: str) -> str:
    """What a step of a Dockerfile brought, from the folder that it names."""
    copied = re.search(r"COPY .*?(?: in)? (/\S*)\s*(?:#.*)?$", step)
    if copied:
        return CONTENTS.get(copied[1].rstrip("/") or "/", copied[1])
    if "groupadd" in step:
        return "user and group"
    return "the base image" if "ADD file:" in step else step.rsplit("#(nop)", maxsplit=1)[-1].strip()[:50]


def read_size(engine: str, image: str) -> int:
    """Bytes of the whole image, as the engine says."""
    return int(ask([engine, "image", "inspect", image, "--format", "{{.Size}}"]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", nargs="*", default=["crossmatch-service:0.1.0"])
    images = parser.parse_args().image
    engine = find_engine()
    print(describe_machine().rstrip(", "), engine, sep=", ")
    for image in images:
        rows: list[tuple[object, ...]] = [
            (layer.contents, f"{layer.size / 1e6:.1f}") for layer in read_layers(engine, image)
        ]
        print_table((image, "MB"), [*rows, ("**whole**", f"**{read_size(engine, image) / 1e6:.1f}**")])


if __name__ == "__main__":
    main()
