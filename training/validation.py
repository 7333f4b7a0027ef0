"""A bundle on the classes that were held out: every figure that a choice may rest on.

The figures are the exported bundle's, through `index`, never the torch model's. What may change here: which protocols
a data set has. What may not: a class that was trained on, or a test class, never comes in.
"""

from __future__ import annotations

from typing import Any

from index.assessment import assess
from index.bundle import Bundle
from index.datasets import Protocol, grocery
from training.data import TrainingSet

Figures = dict[str, dict[str, Any]]  # protocol -> what `crossmatch evaluate --json` prints
_GROCERY_PROTOCOLS = ("shelf", "catalogue")


def held_out_protocols(data: TrainingSet) -> tuple[Protocol, ...]:
    """What can be asked of the held-out classes: Grocery's protocols, otherwise each picture against the others."""
    if not data.held_out:
        return ()
    if data.name == "grocery":
        ids = [class_.id for class_ in grocery.read_classes(data.root) if class_.name in data.held_out_classes]
        return tuple(grocery.read_protocol(data.root, name, ids) for name in _GROCERY_PROTOCOLS)
    return (Protocol("self", data.held_out, data.held_out),)


def validate(bundle: Bundle, data: TrainingSet) -> Figures:
    """The figures of a bundle on each protocol of the held-out classes; empty where none are held out."""
    return {protocol.name: assess(bundle, data.name, protocol).to_json() for protocol in held_out_protocols(data)}
