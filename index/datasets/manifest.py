"""A manifest of labelled pictures (CSV, JSONL or Parquet): all against each other, or as its column `split` says.

What may change here: more protocols. How a manifest is read is `index.sources`'s rule.
"""

from __future__ import annotations

from pathlib import Path

from index.datasets.protocol import Dataset, Protocol, check_labels
from index.errors import SourceError
from index.sources import Source, SourcePicture, read_source

SPLITS = ("train", "query", "gallery")
_COLUMN = "split"


def _read(root: Path) -> Source:
    if root.is_dir():
        raise SourceError(
            "not a manifest",
            where=root,
            expected="a CSV, JSONL or Parquet file with the columns path and label",
            found="a folder",
            remedy="use the data set `folder` for a folder",
        )
    return read_source(root)


def read_manifest(root: Path, protocol: str | None = None) -> Protocol:
    """`self`: all pictures of the manifest `root` against each other. `split`: its queries against its gallery.

    The default is `split` where there is such a column, else `self`. Raises SourceError.
    """
    source = _read(root)
    if protocol is None:
        protocol = "split" if _COLUMN in source.pictures[0].metadata else "self"
    if protocol == "split":
        _check_splits(source)
        queries, gallery = (_read_side(source, side) for side in SPLITS[1:])
        return Protocol("split", queries, gallery)
    return Protocol("self", source.pictures, source.pictures)


def read_training(root: Path) -> tuple[SourcePicture, ...]:
    """The rows whose `split` is `train`; all rows where there is no such column. Raises SourceError."""
    source = _read(root)
    pictures = source.pictures
    if any(_COLUMN in picture.metadata for picture in pictures):
        _check_splits(source)
        pictures = _read_side(source, "train")
        if not pictures:
            raise SourceError(
                "no row is there to train on",
                where=root,
                expected="rows whose column `split` is train",
                found="query and gallery alone",
                remedy="mark the training rows, or leave the column out to train on all",
            )
    check_labels(pictures)
    return pictures


def _check_splits(source: Source) -> None:
    for picture in source.pictures:
        found = picture.metadata.get(_COLUMN)
        if found not in SPLITS:
            raise SourceError(
                f"the column `split` does not fit for {picture.key}",
                where=source.name,
                expected=" or ".join(SPLITS),
                found="no such column" if found is None else repr(found),
                remedy="use --protocol self to compare all pictures with each other",
            )


def _read_side(source: Source, side: str) -> tuple[SourcePicture, ...]:
    return tuple(picture for picture in source.pictures if picture.metadata[_COLUMN] == side)


DATASET = Dataset("manifest", ("self", "split"), read_manifest, read_training=read_training)
