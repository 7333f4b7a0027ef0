"""Stanford Online Products: 120,053 photographs of 22,634 products; `Ebay_train.txt` trains, `Ebay_test.txt` tests.

H. O. Song, Y. Xiang, S. Jegelka, S. Savarese, "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR
2016. What may change here: more protocols. What may not: which pictures a protocol holds.
"""

from __future__ import annotations

from pathlib import Path

from index.datasets.lists import PROTOCOLS, Marks, Split, check_path, misfit, read_rows
from index.datasets.protocol import Dataset, Protocol
from index.sources import SourcePicture

KS = (1, 10, 100, 1000)
MARKS = Marks("Stanford Online Products", ("Ebay_train.txt", "Ebay_test.txt"), ("Stanford_Online_Products",))
_COLUMNS = ("image_id", "class_id", "super_class_id", "path")


def read_split(root: Path) -> Split:
    """What each of the two lists names. Raises SourceError."""
    folder = MARKS.locate(root)
    return Split(*(_read_list(folder, folder / name) for name in MARKS.files))


def _read_list(folder: Path, path: Path) -> tuple[SourcePicture, ...]:
    rows = list(read_rows(path, _COLUMNS))
    if not rows or tuple(rows[0][1]) != _COLUMNS:
        raise misfit(path, 1, _COLUMNS, " ".join(rows[0][1]) if rows else "an empty file")
    return tuple(
        SourcePicture(check_path(where, name), product, folder / name) for where, (_, product, _, name) in rows[1:]
    )


def read_protocol(root: Path, protocol: str | None = None) -> Protocol:
    """`test` (the default), `train` or `all`. Raises SourceError."""
    return read_split(root).protocol(protocol)


DATASET = Dataset("sop", PROTOCOLS, read_protocol, read_training=lambda root: read_split(root).train, ks=KS)
