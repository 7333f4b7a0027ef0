"""The four benchmarks in miniature, in exactly their original layouts: 4 classes of 4 drawn pictures each.

What may change here: more layouts. The names of files and fields are those of the real archives.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.io

from tests.drawn_pictures import draw_picture

COLOURS = ("red", "green", "blue", "yellow")
EACH = 4


def write_picture(path: Path, colour: str, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(draw_picture(colour, number, "JPEG"))


def write_cub(folder: Path) -> Path:
    """`CUB_200_2011.tgz`, unpacked: `attributes.txt` and `CUB_200_2011/` with lists and `images/`."""
    top = folder / "CUB_200_2011"
    classes, images, labels = [], [], []
    for number, colour in enumerate(COLOURS, start=1):
        name = f"{number:03d}.{colour.title()}_Bird"
        classes.append(f"{number} {name}")
        for place in range(EACH):
            path = f"{name}/{colour.title()}_Bird_{place:04d}_{len(images) + 1}.jpg"
            write_picture(top / "images" / path, colour, place)
            images.append(f"{len(images) + 1} {path}")
            labels.append(f"{len(images)} {number}")
    halves = [f"{number} {number % 2}" for number in range(1, len(images) + 1)]
    lists = {"classes": classes, "images": images, "image_class_labels": labels, "train_test_split": halves}
    for file, lines in lists.items():
        (top / f"{file}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "attributes.txt").write_text("1 has_bill_shape::curved_(up_or_down)\n", encoding="utf-8")
    return folder


_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_NAMES = np.array([f"{colour.title()} Sedan 2012" for colour in COLOURS], dtype=object)[None, :]


def write_cars(folder: Path) -> Path:
    """`car_ims.tgz` unpacked beside `cars_annos.mat`: `annotations` is a (1, n) struct array, as MATLAB saves it."""
    kind = [("relative_im_path", object), *((name, object) for name in _BOX), ("class", object), ("test", object)]
    rows = np.empty((1, len(COLOURS) * EACH), dtype=kind)
    for row in range(rows.shape[1]):
        path = f"car_ims/{row + 1:06d}.jpg"
        write_picture(folder / path, COLOURS[row // EACH], row % EACH)
        rows[0, row] = (path, 1, 2, 40, 50, np.uint8(row // EACH + 1), np.uint8(row % 2))
    scipy.io.savemat(folder / "cars_annos.mat", {"annotations": rows, "class_names": _NAMES})
    return folder


def write_cars_kit(folder: Path) -> Path:
    """`cars_train.tgz`, `cars_test.tgz` and `car_devkit.tgz` unpacked, and the test annotations with labels."""
    kind = [*((name, object) for name in _BOX), ("class", object), ("fname", object)]
    for part, places in (("train", (0, 1)), ("test", (2, 3))):
        rows = np.empty((1, len(COLOURS) * 2), dtype=kind)
        for row in range(rows.shape[1]):
            write_picture(folder / f"cars_{part}/{row + 1:05d}.jpg", COLOURS[row // 2], places[row % 2])
            rows[0, row] = (1, 2, 40, 50, np.uint8(row // 2 + 1), f"{row + 1:05d}.jpg")
        file = "devkit/cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        (folder / file).parent.mkdir(exist_ok=True)
        scipy.io.savemat(folder / file, {"annotations": rows})
    scipy.io.savemat(folder / "devkit/cars_meta.mat", {"class_names": _NAMES})
    return folder


def write_sop(folder: Path) -> Path:
    """`Stanford_Online_Products.zip`, unpacked: two lists with a header, and a folder a kind of product."""
    top = folder / "Stanford_Online_Products"
    number = 0
    for file, classes in (("Ebay_train.txt", (1, 2)), ("Ebay_test.txt", (3, 4))):
        lines = ["image_id class_id super_class_id path"]
        for class_ in classes:
            for place in range(EACH):
                number += 1
                path = f"bicycle_final/1110851{class_:05d}_{place}.JPG"
                write_picture(top / path, COLOURS[class_ - 1], place)
                lines.append(f"{number} {class_} 1 {path}")
        (top / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_inshop(folder: Path) -> Path:
    """The benchmark's folder: `Eval/list_eval_partition.txt`, and `Img/img/` as `Img/img.zip` unpacks."""
    top = folder / "In-shop Clothes Retrieval Benchmark"
    lines = [f"{len(COLOURS) * EACH:d}", "image_name item_id evaluation_status"]
    for item, colour in enumerate(COLOURS, start=1):
        for place in range(EACH):
            path = f"img/WOMEN/Dresses/id_{item:08d}/{place + 1:02d}_1_front.jpg"
            write_picture(top / "Img" / path, colour, place)
            status = "train" if item <= 2 else ("query", "gallery")[place % 2]
            lines.append(f"{path:<70} id_{item:08d} {status}")
    (top / "Eval").mkdir()
    (top / "Eval" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_grocery(folder: Path) -> Path:
    """A clone of GroceryStoreDataset: `dataset/` with `classes.csv`, three lists and pictures."""
    top = folder / "dataset"
    header = "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    rows = [header + "Iconic Image Path (str),Product Description Path (str)"]
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, colour in enumerate(COLOURS):
        iconic = f"iconic-images-and-descriptions/{colour}/{colour}_Iconic.jpg"
        write_picture(top / iconic, colour, 9)
        rows.append(f"{colour.title()},{number},Fruit,0,/{iconic},/none.txt")
        for place, part in enumerate(("train", "train", "val", "test")):
            path = f"{part}/{colour}/{colour}_{place}.jpg"
            write_picture(top / path, colour, place)
            parts[part].append(f"{path}, {number}, 0")
    (top / "classes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for part, lines in parts.items():
        (top / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


MINIATURES: Mapping[str, Callable[[Path], Path]] = {
    "cub": write_cub,
    "cars": write_cars,
    "sop": write_sop,
    "inshop": write_inshop,
    "grocery": write_grocery,
}


def pack_tgz(folder: Path, archive: Path) -> Path:
    """All of a folder as a .tgz."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return archive


def pack_zip(folder: Path, archive: Path) -> Path:
    """All of a folder as a .zip."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder).as_posix())
    return archive
