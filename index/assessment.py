"""A model bundle on a data set's protocol -> retrieval figures: what `crossmatch evaluate` and training's report say.

Pictures are encoded as the index encodes them, from the exported bundle, and every one counts: a bad picture ends
the assessment. What may change here: how fast the pictures are encoded. Not which of them are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.datasets import DATASETS, Protocol
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.errors import UsageError
from index.evaluation import KS, Extras, Figures, LabelledVectors, Plan, evaluate, evaluate_extras
from index.exact_search import search_exact, search_nearest
from index.foreign_vectors import ForeignVectors, label_sides
from index.sources import SourcePicture
from index.types import Vectors

Progress = Callable[[int, int], None]
"""(pictures encoded so far, pictures in all); called from the thread that asked."""


@dataclass(frozen=True)
class Assessment:
    """The figures of one model on one protocol of one data set."""

    data: str
    protocol: str
    model: str | None  # the model id; None for vectors made elsewhere
    figures: Figures
    extras: Extras = field(default_factory=Extras)
    classes: int | None = None  # of the queries; None where nobody asked what the model was trained on
    trained_classes: int | None = None  # of those, by this model

    @property
    def note(self) -> str | None:
        """What a reader must know: the figures of classes that were trained on say little of new ones."""
        if not self.trained_classes:
            return None
        if self.trained_classes == self.classes:
            return (
                f"all {self.classes} classes were trained on by this bundle: this does not tell how it does on new ones"
            )
        return (
            f"{self.trained_classes} of {self.classes} classes were trained on by this bundle: "
            "`unseen` tells how it does on new ones"
        )

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch evaluate --json` prints; fractions, and recall by k as a string."""
        figures = self.figures
        return {
            "data": self.data,
            "protocol": self.protocol,
            "queries": figures.queries,
            "gallery": figures.gallery,
            "recall": {str(k): value for k, value in figures.recall.items()},
            "map_at_r": figures.map_at_r,
            "r_precision": figures.r_precision,
            "precision_at_1": figures.recall.get(1),
            "mean_average_precision": figures.mean_average_precision,
            "queries_without_match": figures.queries_without_match,
            "classes": self.classes,
            "trained_classes": self.trained_classes,
            "note": self.note,
            **self.extras.to_json(),
            "model": self.model,
        }


def assess(
    bundle: Bundle,
    data: str,
    protocol: Protocol,
    threads: int | None = None,
    on_progress: Progress | None = None,
    plan: Plan | None = None,
) -> Assessment:
    """Encode the protocol's pictures with `threads` threads (by default one a core) and evaluate them.

    `plan`: what is asked; without its own ks, recall is measured at the data set's.

    Raises ImageError or VectorError with the first picture that can not be encoded, UsageError where no query has a
    match, BundleFormatError where the model can not be loaded.
    """
    pictures = tuple({picture.key: picture for picture in (*protocol.gallery, *protocol.queries)}.values())
    vectors = encode_pictures(bundle, pictures, threads, on_progress)
    plan, known, names = plan or Plan(), DATASETS.get(data), _number_labels(pictures)
    queries, gallery = _label_sides(protocol, pictures, vectors, names)
    figures = evaluate(queries, gallery, plan.question(known.ks if known else KS))
    trained = set(bundle.manifest.training.classes if bundle.manifest.training else ())
    seen = np.array([number for name, number in names.items() if name in trained], np.int64)
    extras = evaluate_extras(plan, figures, queries, gallery, seen)
    asked = {str(picture.label) for picture in protocol.queries}
    counts = {"classes": len(asked), "trained_classes": len(asked & trained)}
    return Assessment(data, protocol.name, bundle.manifest.model_id, figures, extras, **counts)


def assess_foreign(queries: ForeignVectors, gallery: ForeignVectors, metric: str, plan: Plan) -> Assessment:
    """Evaluate vectors that were made elsewhere; `queries` may be `gallery` itself. Raises as `assess`."""
    asked, searched = label_sides(queries, gallery, metric)
    search = search_exact if metric == "cosine" else search_nearest
    figures = evaluate(asked, searched, plan.question(KS), search)
    extras = evaluate_extras(plan, figures, asked, searched)
    return Assessment(str(gallery.path), "self" if queries is gallery else "split", None, figures, extras)


def evaluate_vectors(
    protocol: Protocol, pictures: Sequence[SourcePicture], vectors: Vectors, ks: tuple[int, ...] = KS
) -> Figures:
    """Figures of a protocol from the unit vectors (n, d) float32 of `pictures`, which hold all of the protocol's.

    Raises UsageError where no query has a match.
    """
    return evaluate(*_label_sides(protocol, pictures, vectors, _number_labels(pictures)), ks)


def _number_labels(pictures: Sequence[SourcePicture]) -> dict[str, int]:
    return {label: number for number, label in enumerate(sorted({str(picture.label) for picture in pictures}))}


def _label_sides(
    protocol: Protocol, pictures: Sequence[SourcePicture], vectors: Vectors, labels: Mapping[str, int]
) -> tuple[LabelledVectors, LabelledVectors]:
    ids = {picture.key: row for row, picture in enumerate(pictures)}
    return _label(protocol.queries, vectors, ids, labels), _label(protocol.gallery, vectors, ids, labels)


def _label(
    pictures: Sequence[SourcePicture], vectors: Vectors, ids: Mapping[str, int], labels: Mapping[str, int]
) -> LabelledVectors:
    rows = np.array([ids[picture.key] for picture in pictures], np.int64)
    numbers = np.array([labels[str(picture.label)] for picture in pictures], np.int64)
    return LabelledVectors(vectors[rows], numbers, rows)


def encode_pictures(
    bundle: Bundle,
    pictures: Sequence[SourcePicture],
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Vectors:
    """(n, d) float32 unit vectors of `pictures`, in their order; a single-thread encoder for each of `threads`.

    Raises ImageError or VectorError with the path of the first picture that can not be encoded.
    """
    if threads is not None and threads < 1:
        raise UsageError("too few threads", expected="at least 1", found=threads)
    vectors = np.empty((len(pictures), bundle.manifest.embedding_size), np.float32)
    for row, vector in enumerate(EncoderPool(bundle, threads).map(_encode, pictures)):
        vectors[row] = vector
        if on_progress:
            on_progress(row + 1, len(pictures))
    return vectors


def _encode(encoder: Encoder, picture: SourcePicture) -> Vectors:
    return encoder.encode_file(picture.path)
