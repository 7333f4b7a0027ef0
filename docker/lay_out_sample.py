"""The sample pictures as a folder of labels, with the line that their licence asks for: for the image's build.

python lay_out_sample.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from service.sample import ATTRIBUTION, find_sample_folder, label_emoji


def lay_out_sample(folder: Path) -> None:
    """Copy every picture to `folder/LABEL/NAME.png`, and write `folder/ATTRIBUTION.txt`."""
    for picture in sorted(find_sample_folder().glob("*.png")):
        place = folder / label_emoji(picture.stem) / picture.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, place)
    (folder / "ATTRIBUTION.txt").write_text(f"{ATTRIBUTION}\n", encoding="utf-8")


if __name__ == "__main__":
    lay_out_sample(Path(sys.argv[1]))
