"""`index build`: decides between a new index, an interrupted one to go on with, a synchronisation and another model.

What may change here: what is refused, in words that say what to do instead.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from index.adoption import adopt_manifest
from index.bundle import Bundle
from index.catalog import Catalog, Generation, SourceState
from index.catalog_writer import CatalogWriter
from index.creation import building, create_index
from index.encoder_pool import EncoderPool
from index.errors import IndexExistsError, ModelMismatchError, SourceError
from index.generations import EncodingPlan, SwapReport, build_generation, clear_old_generations
from index.images import ImageLimits
from index.layout import Layout
from index.recipes import parse_recipe
from index.relocation import relocate
from index.snapshot import seal_snapshot
from index.sources import Source
from index.synchronise import OnProgress, Synchroniser, SyncReport


@dataclass(frozen=True)
class BuildPlan:
    """How an index is built."""

    threads: int | None = None  # encoder threads; None: one a core
    limits: ImageLimits = field(default_factory=ImageLimits)
    recipe: str | None = None  # of the snapshots; None: flat for a new index, the index's own otherwise
    update: bool = False  # bring an index that is whole into step with the source
    drop_missing: bool = False  # with another model: remove items whose pictures are gone
    keep: int = 1  # generations kept beside the active one


@dataclass(frozen=True)
class BuildReport:
    """What a build did: `synchronised` or `swapped`."""

    synchronised: SyncReport | None = None
    swapped: SwapReport | None = None
    adopted: tuple[str, ...] = ()  # what the bundle's manifest says anew, when synchronised


def build_index(
    source: Source, bundle: Bundle, folder: Path, plan: BuildPlan | None = None, on_progress: OnProgress | None = None
) -> BuildReport:
    """Index every picture of `source` into `folder`, or go on with what was interrupted, or do what the plan says.

    Raises IndexExistsError where a whole index is and no update was asked for, IndexBusyError while another process
    builds, ModelMismatchError for an update with another model, SourceError if not one file is a picture.
    """
    plan = plan or BuildPlan()
    layout = Layout(folder)
    fresh = not layout.is_index()
    if fresh:
        create_index(layout, bundle, parse_recipe(plan.recipe or "flat").name)
    with building(layout), CatalogWriter(layout.catalog) as catalog:
        action = _decide(catalog, source, bundle, layout, plan)
        if action == "rebuild":
            return BuildReport(swapped=_rebuild(layout, catalog, source, bundle, plan, on_progress))
        report = _synchronise(layout, catalog, source, bundle, plan, on_progress)
        if len(report.skipped) < len(source.pictures):
            return BuildReport(report, adopted=adopt_manifest(layout, catalog.active_generation(), bundle))
        if fresh:
            _take_away(layout, catalog)
        raise SourceError(
            f"not one of {len(source.pictures)} files could be indexed",
            where=source.name,
            found=report.skipped[0].reason,
            remedy="check that they are pictures",
        )


def _take_away(layout: Layout, catalog: CatalogWriter) -> None:
    """Remove a new index that holds nothing; one that another process has written to by now stays.

    Who waits to write to it finds it gone when its turn comes: it is renamed inside a write transaction.
    """
    folder = layout.folder
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as aside, catalog.writing():
        if not catalog.count_items():
            folder.rename(Path(aside) / "index")


def _decide(catalog: CatalogWriter, source: Source, bundle: Bundle, layout: Layout, plan: BuildPlan) -> str:
    generation, sources = catalog.active_generation(), catalog.sources()
    same_model = generation.model_id == bundle.manifest.model_id
    whole = catalog.count_items() and all(state.complete for state in sources)
    if not whole and _is_interrupted(sources, source):
        _refuse_other_model(generation, bundle, layout, "the interrupted build used another model")
        return "synchronise"
    if plan.update:
        _refuse_other_model(generation, bundle, layout, "an update needs the index's own model")
        return "synchronise"
    if not same_model:
        _refuse_other_source(sources, source, layout)
        return "rebuild"
    raise IndexExistsError(
        "there is an index already",
        where=layout.folder,
        expected="a new folder, an interrupted build of this source, --update, or another --model",
        found=f"an index of {sources[0].name}" if sources else "an index",
        remedy="say --update to bring it into step with the source, or choose another --index",
    )


def _refuse_other_source(sources: list[SourceState], source: Source, layout: Layout) -> None:
    """Another model encodes what is in the index; a source that is not would be left out without a word."""
    if sources and source.name not in [state.name for state in sources]:
        raise SourceError(
            "another model can only encode what is in the index already",
            where=layout.folder,
            expected=" or ".join(state.name for state in sources),
            found=source.name,
            remedy="name that one, with --images-root if it lies elsewhere now; index others with --update",
        )


def _is_interrupted(sources: list[SourceState], source: Source) -> bool:
    return not sources or any(state.name == source.name and not state.complete for state in sources)


def _refuse_other_model(generation: Generation, bundle: Bundle, layout: Layout, what: str) -> None:
    if generation.model_id != bundle.manifest.model_id:
        raise ModelMismatchError(
            what,
            where=layout.folder,
            expected=f"model {generation.model_id[:12]}...",
            found=f"{bundle.manifest.model_id[:12]}...",
            remedy=f"give --model {layout.model(generation.name)}",
        )


def _synchronise(
    layout: Layout,
    catalog: CatalogWriter,
    source: Source,
    bundle: Bundle,
    plan: BuildPlan,
    on_progress: OnProgress | None,
) -> SyncReport:
    known = _find_source(catalog, source.name)
    with catalog.writing():
        source_id = known.id if known else catalog.put_source(source.name, str(source.root), len(source.pictures))
        if plan.recipe is not None:
            catalog.set_recipe(catalog.active_generation(), parse_recipe(plan.recipe).name)
    pool = EncoderPool(bundle, plan.threads, plan.limits)
    report = Synchroniser(layout, catalog, pool, source, source_id).run(on_progress)
    arrived = len(report.skipped) < len(source.pictures)
    with catalog.writing():
        if arrived:
            catalog.complete_source(source_id)
        elif known is None:
            catalog.delete_source(source_id)
    if arrived:
        seal_snapshot(layout, catalog)
    return report


def _rebuild(
    layout: Layout,
    catalog: CatalogWriter,
    source: Source,
    bundle: Bundle,
    plan: BuildPlan,
    on_progress: OnProgress | None,
) -> SwapReport:
    recipe = parse_recipe(plan.recipe).name if plan.recipe else catalog.active_generation().recipe
    known = _find_source(catalog, source.name)
    moved = relocate(catalog, known, source.root) if known and known.root != str(source.root) else None
    encoding = EncodingPlan(plan.threads, plan.limits, plan.drop_missing, moved)
    report = build_generation(layout, catalog, bundle, recipe, encoding, on_progress)
    clear_old_generations(layout, catalog, plan.keep)
    return report


def find_complete_source(layout: Layout, name: str) -> SourceState | None:
    """The state of a source in an index, if it was indexed whole."""
    if not layout.is_index():
        return None
    with Catalog(layout.catalog) as catalog:
        state = _find_source(catalog, name)
    return state if state and state.complete else None


def _find_source(catalog: Catalog, name: str) -> SourceState | None:
    return next((state for state in catalog.sources() if state.name == name), None)
