"""What a bundle says of its model anew, taken over by an index of that model: a calibration, an evaluation.

Two files change: `model/manifest.json`, and its digest in the generation's own manifest. Until both have, the new one
lies beside the old as `model/adopting.json`: where that was killed, the next one or `verify --repair` ends it.
What may change here: which fields. Not: that the generation's manifest stays the file that its users hold a lock on.
"""

from __future__ import annotations

from pathlib import Path

from index.bundle import Bundle, read_bundle
from index.catalog import Generation
from index.creation import describe_generation, write_description
from index.errors import IndexBusyError
from index.holding import clearing
from index.layout import Layout, sync_path, write_whole
from index.manifest import MANIFEST_NAME, read_manifest, render_manifest

ADOPTING = "adopting.json"
_FIELDS = ("calibration", "evaluation")


def adopt_manifest(layout: Layout, generation: Generation, bundle: Bundle) -> tuple[str, ...]:
    """Take over what `bundle`, of a generation's model, says otherwise; the names of these fields.

    What it does not say stays. Searches of every process go by it from now on. Raises IndexBusyError while the index
    is being copied or verified, which would find one file changed and not yet the other.
    """
    model = layout.model(generation.name)
    own = read_manifest(model)
    said = {name: getattr(bundle.manifest, name) for name in _FIELDS}
    said = {name: value for name, value in said.items() if value not in (None, getattr(own, name))}
    if not said and not (model / ADOPTING).exists():
        return ()
    with clearing(layout) as alone:
        if not alone:
            raise IndexBusyError(
                "the index is being copied or verified, so the bundle's manifest was not taken over",
                where=layout.folder,
                remedy="give the command again once that has ended",
            )
        finish_adoption(layout, generation)
        if said:
            _take_over(layout, generation, render_manifest(own.model_copy(update=said)))
    return tuple(said)


def _take_over(layout: Layout, generation: Generation, manifest: bytes) -> None:
    model = layout.model(generation.name)
    write_whole(model / ADOPTING, manifest)
    write_whole(model / MANIFEST_NAME, manifest)
    finish_adoption(layout, generation)


def is_adopted(model: Path) -> bool:
    """Whether a new manifest is in its place, and the generation's may not yet have its digest."""
    try:
        return (model / ADOPTING).read_bytes() == (model / MANIFEST_NAME).read_bytes()
    except FileNotFoundError:
        return False


def finish_adoption(layout: Layout, generation: Generation) -> bool:
    """End one that was interrupted; False where the bundle's manifest is neither the new one nor the old one."""
    model, description = layout.model(generation.name), layout.generation(generation.name) / "manifest.json"
    for name in (ADOPTING, MANIFEST_NAME):
        for draft in model.glob(f".{name}-*"):  # of one that was killed as it wrote
            draft.unlink()
    if not (model / ADOPTING).exists():
        return True
    bundle = read_bundle(model)
    if is_adopted(model):
        write_description(description, bundle)
    elif description.read_bytes() != describe_generation(bundle):
        return False
    (model / ADOPTING).unlink()
    sync_path(model)
    return True
