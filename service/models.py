"""The models whose encoders are open: the one that answers, and any that is about to.

A generation is announced before it answers (`index.announcement`), and its encoders are opened then, beside the
searches. So the first query after a swap finds them warm. The old model's go when the last
query that has one ends. What may change here: what is opened ahead. Not: that a swap fails no request.
"""

from __future__ import annotations

import threading

from index.announcement import read_announced
from index.bundle import Bundle, read_bundle
from index.catalog import Catalog
from index.searcher import Searcher
from service.sessions import Sessions
from service.settings import Settings


class Models:
    """Encoders by model id; safe to use from several threads."""

    def __init__(self, searcher: Searcher, settings: Settings) -> None:
        """Opens those of the active generation. Raises BundleError: the service must not start."""
        self._searcher = searcher
        self._settings = settings
        self._opening = threading.Lock()
        self._ahead: dict[str, Sessions] = {}  # model id -> encoders of generations that do not answer yet
        self._announced = ""
        self.current = self._open(searcher.read_bundle())

    @property
    def ahead(self) -> frozenset[str]:
        """Ids of the models that are warm and do not answer yet."""
        return frozenset(self._ahead)

    def follow(self) -> Sessions:
        """Encoders of the model that answers now; opened here if nobody announced it, while others wait for them."""
        if self.current.bundle.manifest.model_id == (active := self._searcher.generation.model_id):
            return self.current
        if (ready := self._ahead.get(active)) is not None:
            self.current = ready
            return ready
        with self._opening:
            bundle = self._searcher.read_bundle()  # the newest, once others are done
            model = bundle.manifest.model_id
            if self.current.bundle.manifest.model_id != model:
                self.current = self._ahead.get(model) or self._open(bundle)
            return self.current

    def probe(self) -> str | None:
        """What is wrong with the encoders that answer, after each encoded a golden picture; or None."""
        return self.current.probe()

    def prepare(self) -> None:
        """Open the encoders of the generation that is announced, and let go of those that no longer are."""
        self.follow()  # also where no query comes: those ahead that answer now are no longer ahead
        model = self._find_announced()
        for other in set(self._ahead) - {model}:
            del self._ahead[other]
        if model is not None and model not in self._ahead and model != self.current.bundle.manifest.model_id:
            bundle = read_bundle(self._searcher.layout.model(self._announced))
            with self._opening:
                self._ahead[model] = self._open(bundle)
        if model is not None:
            self._searcher.prepare(self._announced)

    def _find_announced(self) -> str | None:
        """The model id of the generation that is about to answer."""
        self._announced = read_announced(self._searcher.layout) or ""
        if not self._announced:
            return None
        with Catalog(self._searcher.layout.catalog) as catalog:
            known = [*catalog.drafts(), *catalog.generations()]
        return next((one.model_id for one in known if one.name == self._announced), None)

    def _open(self, bundle: Bundle) -> Sessions:
        return Sessions(bundle, self._settings.threads, self._settings.limits, self._settings.batching)
