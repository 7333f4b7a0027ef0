"""The training commands: `train`, `model export` and `model calibrate`.

Importing this needs no torch; running most of it does.

Each function is one command. What may change here: wording. Not: names of commands, flags and JSON fields, which are
a contract.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index.errors import UsageError
from index.terminal import print_facts, print_json, print_note, progress_bar
from training.config_reading import missing_extra, read_config

if TYPE_CHECKING:
    from index.bundle import Bundle
    from training.config import Config

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for machines.")]


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file.", metavar="CONFIG.yaml", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", help="The run's folder.", metavar="RUN", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Values laid over the file's.", metavar="[section.key=value]...", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Find the data, build the model, take one step; keep nothing.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", help="Train so many seeds, and say how they differ.", min=1, show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train an embedding on labelled pictures and export it as a model bundle.

    RUN then holds bundle/, report.html, metrics.jsonl and checkpoint.pt. The same command given again goes on after
    the last checkpoint. data.holdout=0.25 keeps a quarter of the classes out and measures on them: choose by these
    figures. --seeds 3 trains three runs, RUN/seed-0 and so on, that differ in train.seed alone.

    Examples:

        crossmatch train configs/grocery.yaml data.root=../shared/data/grocery --output runs/grocery

        crossmatch train configs/folder.yaml data.root=./products --output runs/products

        crossmatch train configs/grocery.yaml data.holdout=0.25 --seeds 3 --output runs/three

        crossmatch train configs/cub.yaml data.root=data/cub --dry-run
    """
    from training.allocator import restart_with_kept_memory

    if dry_run and seeds is not None:
        raise UsageError("a dry run has no seeds", expected="either --seeds or --dry-run")
    if (output is None) != dry_run:
        raise UsageError("a run needs a folder, and a dry run has none", expected="either --output or --dry-run")
    _require_torch("training")
    settings = read_config(config, overrides or ())
    restart_with_kept_memory()
    if output is None:
        from training.dry_run import try_out

        facts = try_out(settings).to_json()
        (print_json if json else print_facts)(facts)
        return
    if seeds is not None:
        _train_seeds(settings, output, seeds, json=json)
        return
    from training.finishing import say_outcome
    from training.run import train_bundle

    trained = train_bundle(settings, output)
    if trained is None:  # not torchrun's first process
        return
    result = trained.to_json()
    if json:
        print_json(result)
    else:
        for line in say_outcome(trained):
            typer.echo(line)


def _train_seeds(settings: Config, output: Path, count: int, *, json: bool) -> None:
    from training.seeds import say_table, train_seeds

    result = train_seeds(settings, output, count)
    if json:
        print_json(result.to_json())
    else:
        for line in say_table(result):
            typer.echo(line)
        typer.echo(f"{result.to_json()['report']}: the seeds in one page")


def export_model(
    backbone: Annotated[
        str,
        typer.Option("--backbone", help="efficientnet_lite0, or a name that timm knows.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", help="The bundle's folder.", metavar="BUNDLE", show_default=False)
    ],
    weights: Annotated[
        str, typer.Option("--weights", help="`pretrained`, `none`, a weights file, or a bundle.")
    ] = "pretrained",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the bundle that is there.")] = False,
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
    from training.export_choice import check_choice, refuse_bundle

    check_choice(backbone, weights)
    if not replace:
        refuse_bundle(output)
    if weights == "pretrained" and backbone.removeprefix("tf_") in PRETRAINED:
        bundle = export_pretrained(backbone, output)
    else:
        bundle = _export_with_torch(backbone, weights, output)
    facts = describe_bundle(bundle)
    if json:
        print_json(facts)
    else:
        print_facts(facts)


def calibrate_model(
    bundle: Annotated[Path, typer.Argument(help="A model bundle.", metavar="BUNDLE", show_default=False)],
    data: Annotated[str, typer.Option("--data", help="The data set's name, as in `evaluate`.", show_default=False)],
    root: Annotated[Path, typer.Option("--root", help="The data set's folder, or the manifest.", show_default=False)],
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="One of the data set's; by default its first.", show_default=False)
    ] = None,
    prior: Annotated[
        float, typer.Option("--prior", help="Share of queries whose class is in the gallery.", min=0.01, max=1.0)
    ] = 0.5,
    json: JsonOption = False,
) -> None:
    """Measure how likely a bundle's best match is right, given its score, and write that into the bundle.

    Classes that the bundle was trained on are left out: it knows them too well. The model id stays as it is. Needs no
    torch.

    Examples:

        crossmatch model calibrate bundle --data folder --root ./products

        crossmatch model calibrate bundle --data manifest --root labelled.csv --prior 0.8 --json
    """
    from index.bundle import read_bundle, write_calibration
    from index.datasets import read_protocol
    from training.calibration import CalibrationPlan, calibrate

    opened, pictures = read_bundle(bundle), read_protocol(data, root, protocol)
    with progress_bar("Encoding") as on_progress:
        plan = CalibrationPlan("labelled", data, pictures.name, prior=prior)
        calibration = calibrate(opened, pictures, plan, on_progress)
    write_calibration(opened, calibration)
    fields = {"bundle": str(bundle), "model": opened.manifest.model_id, **calibration.model_dump(mode="json")}
    if json:
        print_json(fields)
        return
    sampling, thresholds = fields.pop("sampling"), fields.pop("thresholds")
    points = ", ".join(f"{score:.4f}: {probability:.4f}" for score, probability in calibration.knots)
    print_facts({**fields, **sampling, "knots": points, **thresholds})
    print_note(f"an index gets it by `crossmatch index build SOURCE --model {bundle} --index DIR --update`")


def _export_with_torch(backbone: str, weights: str, output: Path) -> Bundle:
    _require_torch(f"{backbone} with the weights {weights}")
    from training.backbones import build_backbone
    from training.export import ExportPlan, export_bundle
    from training.model import build_plain_embedder

    found = build_backbone(backbone, weights)
    return export_bundle(build_plain_embedder(found), ExportPlan(found, found.preprocessing), output)


def _require_torch(what: str) -> None:
    """Raises UsageError where the [training] extra, which `what` needs, is not installed."""
    for library in ("torch", "torchvision", "timm", "safetensors", "onnxscript"):
        if importlib.util.find_spec(library) is None:
            raise missing_extra(what, library)
