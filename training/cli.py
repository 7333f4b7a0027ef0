"""The training commands: `train` and `model export`. Importing this needs no torch; running most of it does.

Each function is one command. What may change here: wording. Not: names of commands, flags and JSON fields, which are
a contract.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index.terminal import print_facts, print_json
from training.config_reading import missing_extra, read_config

if TYPE_CHECKING:
    from index.bundle import Bundle

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for machines.")]


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file.", metavar="CONFIG.yaml", show_default=False)],
    output: Annotated[Path, typer.Option("--output", help="The run's folder.", metavar="RUN", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Values laid over the file's.", metavar="[section.key=value]...", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train an embedding on labelled pictures and export it as a model bundle.

    RUN then holds bundle/, metrics.jsonl and checkpoint.pt. The same command given again goes on after the last whole
    epoch. data.holdout=0.25 keeps a quarter of the classes out and measures on them: choose by these figures.

    Examples:

        crossmatch train configs/grocery.yaml data.root=../shared/data/grocery --output runs/grocery

        crossmatch train configs/grocery.yaml data.name=folder data.root=./products data.holdout=0.25 --output runs/try
    """
    from training.allocator import restart_with_kept_memory

    settings = read_config(config, overrides or ())
    _require_torch()
    restart_with_kept_memory()
    from training.run import train_bundle

    result = train_bundle(settings, output).to_json()
    if json:
        print_json(result)
    else:
        typer.echo(f"{result['bundle']}: model {result['model']}")


def export_model(
    backbone: Annotated[
        str,
        typer.Option("--backbone", help="efficientnet_lite0, or a name that timm knows.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", help="The bundle's folder.", metavar="BUNDLE", show_default=False)
    ],
    weights: Annotated[
        str, typer.Option("--weights", help="`pretrained`, a weights file, or a bundle.")
    ] = "pretrained",
    json: JsonOption = False,
) -> None:
    """Make a model bundle from a backbone and its weights.

    The EfficientNet-Lites' pretrained weights need no torch; everything else needs the [training] extra.

    Examples:

        crossmatch model export --backbone efficientnet_lite0 --weights pretrained --output bundle

        crossmatch model export --backbone resnet50 --weights my-resnet50.safetensors --output bundle
    """
    from index.bundle import describe_bundle
    from index.model_export import PRETRAINED, export_pretrained

    if weights == "pretrained" and backbone.removeprefix("tf_") in PRETRAINED:
        bundle = export_pretrained(backbone, output)
    else:
        bundle = _export_with_torch(backbone, weights, output)
    facts = describe_bundle(bundle)
    if json:
        print_json(facts)
    else:
        print_facts(facts)


def _export_with_torch(backbone: str, weights: str, output: Path) -> Bundle:
    _require_torch()
    from training.backbones import build_backbone
    from training.export import ExportPlan, export_bundle
    from training.model import build_plain_embedder

    found = build_backbone(backbone, weights)
    return export_bundle(build_plain_embedder(found), ExportPlan(found, found.preprocessing), output)


def _require_torch() -> None:
    """Raises UsageError where the [training] extra is not installed."""
    for library in ("torch", "torchvision", "timm", "safetensors", "onnxscript"):
        if importlib.util.find_spec(library) is None:
            raise missing_extra(library)
