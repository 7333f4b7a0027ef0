"""In-Shop Clothes Retrieval (DeepFashion): 52,712 photographs of 7,982 garments, with queries and gallery apart.

Z. Liu, P. Luo, S. Qiu, X. Wang, X. Tang, "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich
Annotations", CVPR 2016. `list_eval_partition.txt` says of each picture whether it trains, asks or is searched.
What may change here: more protocols. What may not: which pictures a protocol holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from index.datasets.lists import check_path, misfit, read_rows
from index.datasets.protocol import Dataset, Protocol
from index.errors import SourceError
from index.sources import SourcePicture

KS = (1, 10, 20, 30, 40, 50)
PROTOCOLS = ("test", "train")
LIST = "list_eval_partition.txt"
_FOLDERS = ("", "Eval", "In-shop Clothes Retrieval Benchmark", "In-shop Clothes Retrieval Benchmark/Eval")
_PICTURES = ("img", "Img/img")  # as `Img/img.zip` is unpacked, beside it or into a folder of its own
_COLUMNS = ("image_name", "item_id", "evaluation_status")


@dataclass(frozen=True)
class Partition:
    """Garments to train on; of the others, photographs that ask and those they are searched among."""

    train: tuple[SourcePicture, ...]
    query: tuple[SourcePicture, ...]
    gallery: tuple[SourcePicture, ...]


def locate(root: Path) -> tuple[Path, Path]:
    """The partition's list, and the folder that its paths start from. Raises SourceError."""
    found = next((root / name / LIST for name in _FOLDERS if (root / name / LIST).is_file()), None)
    if found is None:
        raise SourceError(
            "not the In-Shop data set",
            where=root,
            expected=f"{LIST}, here or in Eval/",
            found="no such list" if root.is_dir() else "no such folder",
            remedy="make it with `crossmatch data prepare inshop`, or check the path",
        )
    top = found.parent.parent if found.parent.name == "Eval" else found.parent
    folder = next((top / name for name in _PICTURES if (top / name).is_dir()), None)
    if folder is None:
        raise SourceError("no pictures beside the list", where=top, expected=" or ".join(f"{n}/" for n in _PICTURES))
    return found, folder.parent


def read_partition(root: Path) -> Partition:
    """What the list names. Raises SourceError."""
    path, folder = locate(root)
    sides: dict[str, list[SourcePicture]] = {"train": [], "query": [], "gallery": []}
    rows = list(read_rows(path, _COLUMNS, skip=1))  # the first line is the number of pictures
    if not rows or tuple(rows[0][1]) != _COLUMNS:
        raise misfit(path, 2, _COLUMNS, " ".join(rows[0][1]) if rows else "nothing")
    for where, (name, item, status) in rows[1:]:
        if status not in sides:
            raise SourceError("no such status", where=where, expected=" or ".join(sides), found=repr(status))
        sides[status].append(SourcePicture(check_path(where, name), item, folder / name))
    return Partition(*(tuple(pictures) for pictures in sides.values()))


def read_protocol(root: Path, protocol: str | None = None) -> Protocol:
    """`test` (the default): the queries among the gallery; `train`: training pictures against each other."""
    partition = read_partition(root)
    if protocol == "train":
        return Protocol("train", partition.train, partition.train)
    return Protocol("test", partition.query, partition.gallery)


DATASET = Dataset("inshop", PROTOCOLS, read_protocol, read_training=lambda root: read_partition(root).train, ks=KS)
