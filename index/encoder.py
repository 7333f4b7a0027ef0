"""Pictures -> unit vectors, through the bundle's ONNX graph.

An `Encoder` is one single-thread session, used by one thread at a time. Pictures are always encoded one by one: on
CPU cores a session a core at batch 1 is the fastest arrangement (`docs/decisions/0003-...`), and a vector then never
hangs on which pictures shared its batch. What may change here: execution providers. Not: the batch of one on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from index.bundle import Bundle, Golden, read_golden
from index.crops import Crop
from index.errors import BundleFormatError, GoldenMismatchError, ImageError, UsageError, VectorError
from index.images import ImageLimits, read_bytes
from index.measurements import timing
from index.preprocess import preprocess_bytes
from index.types import Vectors, unit_vectors

GOLDEN_COSINE = 0.9999


class Encoder:
    """One ONNX Runtime session over a bundle."""

    def __init__(self, bundle: Bundle, limits: ImageLimits | None = None) -> None:
        """Raises BundleFormatError if the graph can not be loaded or is not the one the manifest describes."""
        self.bundle = bundle
        self.limits = limits or ImageLimits()
        self._session = open_session(bundle.model_path)
        _check_signature(self._session, bundle)

    def encode(self, pixels: NDArray[np.float32]) -> Vectors:
        """(d,) float32 unit vector of one preprocessed picture (3, s, s).

        Raises VectorError, or BundleFormatError where the graph itself fails.
        """
        try:
            output = self._session.run(["embedding"], {"image": pixels[None]})[0]
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise BundleFormatError("the model can not be run", where=self.bundle.model_path, found=error) from error
        expected = (1, self.bundle.manifest.embedding_size)
        if output.shape != expected:  # ONNX Runtime only warns where a graph breaks its own signature
            raise VectorError(
                "wrong size of output", where=self.bundle.model_path, expected=expected, found=output.shape
            )
        return np.asarray(unit_vectors(output, where=self.bundle.model_path)[0])

    def encode_file(self, path: Path, crop: Crop | None = None) -> Vectors:
        """(d,) float32 unit vector of a picture file. Raises ImageError, VectorError or UsageError with its path."""
        data = read_bytes(path, self.limits)
        try:
            return self.encode_bytes(data, crop)
        except (ImageError, VectorError, UsageError) as error:
            raise error.at(path) from error

    def encode_bytes(self, data: bytes, crop: Crop | None = None) -> Vectors:
        """(d,) float32 unit vector of the bytes of a picture file, or of a part of the picture.

        Raises ImageError or VectorError, and UsageError for a crop that is not inside the picture.
        """
        with timing("decode"):
            pixels = preprocess_bytes(data, self.bundle.manifest.preprocessing, self.limits, crop)
        with timing("encode"):
            return self.encode(pixels)


def open_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """A CPU session that keeps to `threads` threads and does not spin while it waits."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise BundleFormatError("ONNX Runtime can not load the model", where=path, found=error) from error


def _check_signature(session: ort.InferenceSession, bundle: Bundle) -> None:
    size = bundle.manifest.preprocessing.input_size
    dimensions = bundle.manifest.embedding_size
    inputs = {node.name: _signature(node) for node in session.get_inputs()}
    outputs = {node.name: _signature(node) for node in session.get_outputs()}
    expected = ("tensor(float)", "n", 3, size, size), ("tensor(float)", "n", dimensions)
    if inputs != {"image": expected[0]} or outputs.get("embedding") != expected[1]:
        raise BundleFormatError(
            "the graph's input or output is not what the manifest describes",
            where=bundle.model_path,
            expected=f"image (n, 3, {size}, {size}) -> embedding (n, {dimensions}), float32",
            found=f"{inputs} -> {outputs}",
        )


def _signature(node: ort.NodeArg) -> tuple[object, ...]:
    """(type, "n", other sides): the batch side is "n" if it may be any number, whatever the graph calls it."""
    batch = [side if isinstance(side, int) else "n" for side in node.shape[:1]]
    return (node.type, *batch, *node.shape[1:])


def verify_golden(encoder: Encoder, *, first: int | None = None, golden: Golden | None = None) -> float:
    """Encode the golden pictures again (the `first` ones, or all); the lowest cosine with the stored vectors.

    `golden`: the bundle's, where the caller keeps them. Raises GoldenMismatchError where it is below 0.9999.
    """
    golden = golden or read_golden(encoder.bundle)
    pictures = golden.pictures[:first]
    rule = encoder.bundle.manifest.preprocessing
    unlimited = ImageLimits()  # the encoder's own may be stricter, and are for strangers' pictures
    vectors = np.stack([encoder.encode(preprocess_bytes(data, rule, unlimited)) for data in pictures])
    cosines = np.einsum("nd,nd->n", vectors, golden.vectors[: len(pictures)], dtype=np.float64)
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= GOLDEN_COSINE:
        raise GoldenMismatchError(
            f"golden picture {worst} gives another vector than when the bundle was made",
            where=encoder.bundle.folder,
            expected=f"cosine at least {GOLDEN_COSINE}",
            found=f"{cosines[worst]:.6f}",
            remedy="this machine's ONNX Runtime or Pillow computes differently: do not serve with it",
        )
    return float(cosines[worst])
