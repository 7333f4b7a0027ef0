"""What can be said of `model export`'s options before torch is there: misspelt names, and a bundle in the way.

What may change here: more misspellings. Not: that nothing here imports torch, and that nothing is written.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from index.errors import UsageError
from index.manifest import MANIFEST_NAME
from index.model_export import PRETRAINED

WEIGHTS = ("pretrained", "none")
_TIMMS_OWN = ("efficientnet_lite3", "efficientnet_lite4")  # one letter from ours, and no misspellings
_NEAR = 0.9  # of difflib's ratio: a letter or two of twenty


def check_choice(backbone: str, weights: str) -> None:
    """Raises UsageError for a misspelt EfficientNet-Lite, and for weights that are neither a word nor a file."""
    name = backbone.removeprefix("tf_")
    near = difflib.get_close_matches(name, PRETRAINED, n=1, cutoff=_NEAR)
    if near and name not in (*PRETRAINED, *_TIMMS_OWN):
        raise UsageError("no such backbone", where=backbone, remedy=f"did you mean {near[0]}?")
    if weights not in WEIGHTS and not Path(weights).exists():
        word = difflib.get_close_matches(weights, WEIGHTS, n=1)
        raise UsageError(
            "no such weights file",
            where=weights,
            expected="`pretrained`, `none`, a .safetensors or torch file, or a bundle",
            remedy=f"did you mean {word[0]}?" if word else None,
        )


def refuse_bundle(output: Path) -> None:
    """Raises UsageError where a bundle is there already: its weights, report and calibration would be gone."""
    if (output / MANIFEST_NAME).exists():
        raise UsageError(
            "a bundle is there already",
            where=output,
            expected="a new folder",
            remedy="choose another --output, or say --replace: its weights, report and calibration are lost then",
        )
