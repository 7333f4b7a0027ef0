"""What one writes in an afternoon: FastAPI, torch and FAISS, one file. The baseline of `benchmarks.serving`.

    python -m benchmarks.plain_service --index DIR --port 8500 [--threads 1]

The same weights in torch's eager mode, the same rows in the same HNSW graph, asked as broadly as ours.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Annotated, Any

import faiss
import torch
import uvicorn
from fastapi import FastAPI, File
from PIL import Image
from torchvision import transforms

from index.catalog import Catalog
from index.layout import Layout
from training.backbones import build_backbone
from training.model import build_plain_embedder


def create_plain_app(folder: Path) -> FastAPI:
    """One route, `POST /v1/search`."""
    layout = Layout(folder)
    with Catalog(layout.catalog) as catalog:
        generation = catalog.active_generation()
        snapshot = catalog.snapshot(generation)
        assert snapshot is not None
        keys = [item.key for item in catalog.list_items(0, catalog.count_items())]
    index = faiss.read_index(str(layout.generation(generation.name) / snapshot.file))
    faiss.ParameterSpace().set_index_parameter(index, "efSearch", 256)
    model = build_plain_embedder(build_backbone("efficientnet_lite0", "pretrained")).eval()
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)])
    app = FastAPI()

    @app.post("/v1/search")
    def search(image: Annotated[bytes, File()], k: int = 10) -> dict[str, Any]:
        picture = transform(Image.open(io.BytesIO(image)).convert("RGB"))
        with torch.inference_mode():
            vector = torch.nn.functional.normalize(model(picture[None]).embedding)
        scores, rows = index.search(vector.numpy(), k)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return {"results": [{"key": keys[row], "score": score} for row, score in found]}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int)  # of torch; its own choice if not given
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    uvicorn.run(create_plain_app(options.index), port=options.port, log_level="warning")
