"""Encoding through ONNX Runtime, with real graphs of a few kilobytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from index.bundle import Bundle, Golden, read_bundle, read_golden, write_bundle
from index.encoder import GOLDEN_COSINE, Encoder, open_session, verify_golden
from index.errors import BrokenImageError, BundleFormatError, GoldenMismatchError, ImageTooLargeError, VectorError
from index.images import ImageLimits
from index.sources import read_source
from tests.drawn_pictures import draw_picture
from tests.tiny_model import DIMENSIONS, RULE, build_graph, build_tiny_graph, describe_tiny

FLATTEN = [helper.make_node("Flatten", ["image"], ["flat"])]
PROJECT = helper.make_node("MatMul", ["flat", "weights"], ["embedding"])


def bundle_of(model: onnx.ModelProto, tiny_bundle: Bundle, folder: Path, golden: Golden | None = None) -> Bundle:
    """A bundle of another graph, whose digests and model id fit, with the tiny bundle's golden vectors."""
    files = folder / "files"
    files.mkdir()
    onnx.save(model, files / "model.onnx")
    return write_bundle(folder / "bundle", files, golden or read_golden(tiny_bundle), describe_tiny())


def projection(fill: float, dimensions: int = DIMENSIONS) -> dict[str, NDArray[np.float32]]:
    """Weights (3 * 32 * 32, dimensions) of one value."""
    return {"weights": np.full((3 * 32 * 32, dimensions), fill, np.float32)}


def change_shape(model: onnx.ModelProto, side: int, size: int | str, output: bool = False) -> onnx.ModelProto:
    """Have the graph say another size for one side of its input, or of its output."""
    node = (model.graph.output if output else model.graph.input)[0]
    dimension = node.type.tensor_type.shape.dim[side]
    if isinstance(size, int):
        dimension.dim_value = size
    else:
        dimension.dim_param = size
    return model


def test_nearest_neighbour_has_the_same_label(tiny_encoder: Encoder, drawn_pictures: Path) -> None:
    pictures = read_source(drawn_pictures).pictures
    vectors = np.stack([tiny_encoder.encode_bytes(picture.path.read_bytes()) for picture in pictures])
    cosines = vectors @ vectors.T - 2 * np.eye(len(vectors), dtype=np.float32)
    found = [pictures[best].label for best in cosines.argmax(axis=1)]
    assert len(pictures) == 24
    assert found == [picture.label for picture in pictures]


def test_vector_is_of_length_one_and_always_the_same(tiny_bundle: Bundle, tiny_encoder: Encoder) -> None:
    data = draw_picture("red", 3, "JPEG")
    vector = tiny_encoder.encode_bytes(data)
    assert vector.dtype == np.float32
    assert vector.shape == (DIMENSIONS,)
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-6
    for encoder in (tiny_encoder, Encoder(tiny_bundle), Encoder(read_bundle(tiny_bundle.folder))):
        tiny_encoder.encode_bytes(draw_picture("blue"))  # what came before leaves nothing behind
        assert encoder.encode_bytes(data).tobytes() == vector.tobytes()


def test_vector_is_what_the_graph_says(tiny_bundle: Bundle, tiny_encoder: Encoder) -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in build_tiny_graph().graph.initializer}
    means = pixels.reshape(3, 8, 4, 8, 4).mean(axis=(2, 4), dtype=np.float64)  # (3, 8, 8)
    expected = means.reshape(-1) @ constants["weights"].astype(np.float64) + constants["bias"]
    np.testing.assert_allclose(tiny_encoder.encode(pixels), expected / np.linalg.norm(expected), atol=1e-5)
    assert tiny_bundle.manifest.embedding_size == DIMENSIONS


def test_errors_of_pictures_pass_through(tiny_bundle: Bundle) -> None:
    encoder = Encoder(tiny_bundle, ImageLimits(max_bytes=500))
    with pytest.raises(BrokenImageError):
        encoder.encode_bytes(b"")
    with pytest.raises(ImageTooLargeError):
        encoder.encode_bytes(draw_picture("red"))


def test_golden_pictures_pass(tiny_encoder: Encoder) -> None:
    assert verify_golden(tiny_encoder) > 0.999999
    assert verify_golden(tiny_encoder, first=2) > 0.999999


def test_tampered_model_fails_the_golden_pictures(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = bundle_of(build_tiny_graph(seed=1), tiny_bundle, tmp_path)  # every digest fits
    with pytest.raises(GoldenMismatchError, match=r"golden picture \d .*cosine at least 0\.9999, found .*do not serve"):
        verify_golden(Encoder(bundle))


@pytest.mark.parametrize("wrong", range(5))
def test_each_golden_picture_counts(tiny_bundle: Bundle, tmp_path: Path, wrong: int) -> None:
    golden = read_golden(tiny_bundle)
    vectors = golden.vectors.copy()
    vectors[wrong] = np.roll(vectors[wrong], 1)
    bundle = bundle_of(build_tiny_graph(), tiny_bundle, tmp_path, Golden(golden.pictures, vectors))
    with pytest.raises(GoldenMismatchError, match=f"golden picture {wrong}"):
        verify_golden(Encoder(bundle))
    if wrong:
        assert verify_golden(Encoder(bundle), first=wrong) >= GOLDEN_COSINE


@pytest.mark.parametrize("fill", [0.0, float("nan"), float("inf")])
def test_output_without_direction_is_refused(tiny_bundle: Bundle, tmp_path: Path, fill: float) -> None:
    encoder = Encoder(bundle_of(build_graph([*FLATTEN, PROJECT], projection(fill)), tiny_bundle, tmp_path))
    with pytest.raises(VectorError, match=r"model\.onnx: .*not finite or has no length"):
        encoder.encode_bytes(draw_picture("red"))
    with pytest.raises(VectorError):
        verify_golden(encoder)


def wrong_graphs() -> dict[str, onnx.ModelProto]:
    """Graphs that ONNX Runtime loads, and that are not what the manifest describes."""
    renamed = build_graph([helper.make_node("Flatten", ["x"], ["flat"]), PROJECT], projection(1.0), input_name="x")
    wide = build_graph([*FLATTEN, PROJECT], projection(1.0, 8), output_size=8)
    double = build_graph([*FLATTEN, helper.make_node("Cast", ["flat"], ["embedding"], to=TensorProto.DOUBLE)], {})
    double.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    double.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3 * 32 * 32
    unnamed = build_tiny_graph()
    unnamed.graph.node[-1].output[0] = unnamed.graph.output[0].name = "vector"
    return {
        "input name": renamed,
        "output name": unnamed,
        "output size": wide,
        "output type": double,
        "fixed batch": change_shape(change_shape(build_tiny_graph(), 0, 4), 0, 4, output=True),
        "any size of picture": change_shape(
            change_shape(build_graph([*FLATTEN, PROJECT], projection(1.0)), 2, "h"), 3, "w"
        ),
    }


@pytest.mark.parametrize("name", sorted(wrong_graphs()))
def test_graph_with_another_signature_is_refused(tiny_bundle: Bundle, tmp_path: Path, name: str) -> None:
    bundle = bundle_of(wrong_graphs()[name], tiny_bundle, tmp_path)
    with pytest.raises(BundleFormatError, match=r"image \(n, 3, 32, 32\) -> embedding \(n, 16\)"):
        Encoder(bundle)


def test_second_output_is_welcome(tiny_bundle: Bundle, tmp_path: Path) -> None:
    model = build_tiny_graph()
    model.graph.output.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, ["n", 3, 8, 8]))
    assert verify_golden(Encoder(bundle_of(model, tiny_bundle, tmp_path))) > 0.999999


def test_graph_that_gives_another_size_than_it_says(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Rows by a run-time shape, which ONNX Runtime can not know of when it loads the graph."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["number"], to=TensorProto.INT64),
        helper.make_node("Mul", ["number", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "shape"], ["sides"]),
        helper.make_node("ConstantOfShape", ["sides"], ["zeros"]),
        helper.make_node("Add", ["zeros", "one"], ["embedding"]),
    ]
    constants = {"zero": np.int64(0), "shape": np.array([1, 8], np.int64), "one": np.float32(1)}
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    encoder = Encoder(bundle_of(build_graph(nodes, arrays), tiny_bundle, tmp_path))
    with pytest.raises(VectorError, match=r"expected \(1, 16\), found \(1, 8\)"):
        encoder.encode_bytes(draw_picture("red"))


def test_graph_that_fails_while_it_runs(tiny_encoder: Encoder) -> None:
    with pytest.raises(BundleFormatError, match=r"model\.onnx: the model can not be run") as caught:
        tiny_encoder.encode(np.zeros((3, 31, 32), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(1000)])
def test_file_that_is_no_graph(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BundleFormatError, match=r"model\.onnx: ONNX Runtime can not load the model") as caught:
        open_session(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_missing_graph(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match="can not load"):
        open_session(tmp_path / "model.onnx")


def test_bundle_may_lie_in_a_folder_of_any_name(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "Äpfel und \U0001f34f" / "it's"
    shutil.copytree(tiny_bundle.folder, folder)
    assert verify_golden(Encoder(read_bundle(folder))) > 0.999999


def test_rule_of_the_manifest_is_what_is_applied(tiny_bundle: Bundle) -> None:
    assert Encoder(tiny_bundle).bundle.manifest.preprocessing == RULE
