"""A CSV manifest of labelled pictures: all against each other, or as its column `split` says.

What may change here: more protocols. How a CSV is read is `index.sources`'s rule.
"""

from __future__ import annotations

from pathlib import Path

from index.datasets.protocol import Dataset, Protocol
from index.errors import SourceError
from index.sources import Source, SourcePicture, read_source

_SIDES = ("query", "gallery")


def read_manifest(root: Path, protocol: str | None = None) -> Protocol:
    """`self`: all pictures of the CSV `root` against each other. `split`: its queries against its gallery.

    The default is `split` where there is such a column, else `self`. Raises SourceError.
    """
    if root.is_dir():
        raise SourceError(
            "not a manifest",
            where=root,
            expected="a CSV file with the columns path and label",
            found="a folder",
            remedy="use --data folder for a folder",
        )
    source = read_source(root)
    if protocol is None:
        protocol = "split" if "split" in source.pictures[0].metadata else "self"
    if protocol == "split":
        queries, gallery = (_read_side(source, side) for side in _SIDES)
        return Protocol("split", queries, gallery)
    return Protocol("self", source.pictures, source.pictures)


def _read_side(source: Source, side: str) -> tuple[SourcePicture, ...]:
    for picture in source.pictures:
        found = picture.metadata.get("split")
        if found not in _SIDES:
            raise SourceError(
                f"the column `split` does not fit for {picture.key}",
                where=source.name,
                expected=" or ".join(_SIDES),
                found="no such column" if found is None else repr(found),
                remedy="use --protocol self to compare all pictures with each other",
            )
    return tuple(picture for picture in source.pictures if picture.metadata["split"] == side)


DATASET = Dataset("manifest", ("self", "split"), read_manifest)
