"""A folder of pictures, one folder a class: every picture is searched among all others.

What may change here: more protocols. Which label a file gets is `index.sources`'s rule.
"""

from __future__ import annotations

from pathlib import Path

from index.datasets.protocol import Dataset, Protocol, check_labels
from index.errors import SourceError
from index.sources import SourcePicture, read_source


def read_pictures(root: Path) -> tuple[SourcePicture, ...]:
    """All pictures below `root`, each with a label. Raises SourceError."""
    if not root.is_dir():
        raise SourceError(
            "not a folder of labelled pictures",
            where=root,
            expected="a folder with one folder a class",
            found="a file" if root.exists() else "nothing there",
            remedy="use the data set `manifest` for a CSV file" if root.is_file() else "check --root",
        )
    pictures = read_source(root).pictures
    check_labels(pictures)
    return pictures


def read_folder(root: Path, _protocol: str | None = None) -> Protocol:
    """`self`: all pictures below `root` against each other. Raises SourceError."""
    pictures = read_pictures(root)
    return Protocol("self", pictures, pictures)


DATASET = Dataset("folder", ("self",), read_folder, read_training=read_pictures)
