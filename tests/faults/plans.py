"""Seeded sequences of operations on an index, and what it has to hold after each: the model that the oracle goes by.

Pure: nothing here touches a disk or knows how an index works. What may change here: kinds of operation and how often.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from tests.faults.gallery import CONTENTS

BATCH = 8  # pictures a transaction, in the workers: small, so that most operations are several
_MOST = 90  # items, about
_LABELS = ("red", "green", "blue", None)


@dataclass(frozen=True)
class Held:
    """An item as it has to be."""

    key: str
    label: str | None
    note: int | None  # in its metadata
    content: int  # number in the gallery
    version: int
    source: bool  # the source folder brought it
    path: str | None  # in the source folder; None: in originals/


World = dict[int, Held]  # by a number of the item's own that outlives changes of its key


@dataclass(frozen=True)
class Operation:
    """One call, and the world once it has returned."""

    kind: str
    after: World
    items: tuple[Held, ...] = ()  # of add, update and import
    keys: tuple[str, ...] = ()  # of remove
    files: tuple[tuple[str, int], ...] = ()  # of build: what the source folder holds, name -> content
    recipe: str | None = None
    image: bool = False  # of update: the picture, too
    atomic: bool = False  # one transaction
    copy: str | None = None  # of restore: what the restored index is called

    @property
    def swaps(self) -> bool:
        """Whether it may make another generation the active one."""
        return self.kind in {"rebuild", "rollback"}


class Planner:
    """Plans operations one after the other, as if each succeeded."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world: World = {}
        self.files: dict[str, int] = {}  # the source folder
        self._things = count(1)
        self._names = count(1)
        self._notes = count(1)

    def plan(self, wanted: int, *, first: str | None = None) -> list[Operation]:
        """The next operations; `first`: the kind of the first, where that is a build, a rebuild or a rollback."""
        made: list[Operation] = []
        while len(made) < wanted:
            made.append(self._plan_any() if made or first is None else self._plan_first(first))
            self.world = made[-1].after
        return made

    def change_files(self) -> None:
        """Alter the source folder: some files come, change, move or go."""
        for name in self.random.sample(sorted(self.files), k=self.random.randint(0, min(6, len(self.files) // 2))):
            action = self.random.choice(["change", "move", "move", "remove"])
            content = self.files.pop(name)
            if action == "change":
                self.files[name] = self._draw_content()
            elif action == "move":
                self.files[self._name_file()] = content
        for _ in range(self.random.randint(0 if self.files else 20, 8 if self.files else 30)):
            self.files[self._name_file()] = self._draw_content()

    def _name_file(self) -> str:
        return f"{self.random.choice(['a', 'b'])}/{next(self._names)}.jpg"

    def _draw_content(self) -> int:
        """One that no file of the source has, so that it is clear which file moved where."""
        return self.random.choice(sorted(set(range(CONTENTS)) - set(self.files.values())))

    def _plan_first(self, kind: str) -> Operation:
        return self._plan_build() if kind == "build" else Operation(kind, self.world)

    def _plan_any(self) -> Operation:
        kinds = ["add"] * 5 + ["remove"] * 3 + ["update"] * 4 + ["compact"] * 3 + ["rebuild", "rollback"]
        kinds += ["import", "import", "restore", "repair"]
        if len(self.world) > _MOST:
            kinds = ["remove"]
        kind = self.random.choice(kinds)
        if kind == "compact":
            return Operation(kind, self.world, recipe=self.random.choice([None, None, "flat", "hnsw"]))
        if kind in {"rebuild", "rollback", "repair"}:
            return Operation(kind, self.world)
        if kind == "restore":
            return Operation(kind, self.world, copy=f"restored-{next(self._names)}")
        if kind == "import" and any(held.path is None for held in self.world.values()):
            return self._plan_import()
        if kind in {"add", "import"} or len(self.world) < 3:
            return self._plan_add()
        return self._plan_remove() if kind == "remove" else self._plan_update()

    def _plan_build(self) -> Operation:
        """What a build makes of the source folder: see `index.synchronise`."""
        after = {thing: held for thing, held in self.world.items() if not held.source}
        known = {held.key: thing for thing, held in self.world.items() if held.source}
        vanished = [thing for key, thing in known.items() if key not in self.files]
        for name, content in sorted(self.files.items()):
            wanted = Held(name, name.split("/", maxsplit=1)[0], None, content, 1, source=True, path=name)
            thing = known.get(name)
            if thing is None:
                thing = next((one for one in vanished if self.world[one].content == content), None)
                if thing is not None:
                    vanished.remove(thing)
            old = self.world.get(thing) if thing is not None else None
            if old is not None:
                same = replace(wanted, version=old.version) == old
                wanted = replace(wanted, version=old.version + (0 if same else 1))
            after[thing or next(self._things)] = wanted
        return Operation("build", after, files=tuple(sorted(self.files.items())))

    def _plan_add(self) -> Operation:
        """New items, some with a key that was there once, some with a picture that others have, some replacing."""
        after, items = dict(self.world), []
        there = {held.key: thing for thing, held in after.items()}
        numbers = self.random.sample(range(150), k=self.random.choice([1, 1, 2, 5, 20]))
        copied = self.random.randrange(CONTENTS)
        for number in numbers:
            content = copied if self.random.random() < 0.3 else self.random.randrange(CONTENTS)
            held = Held(f"own/{number}", self.random.choice(_LABELS), number, content, 1, source=False, path=None)
            thing = there.get(held.key)
            if thing is None:
                thing = next(self._things)
            elif after[thing].content == content:
                continue
            else:
                held = replace(held, version=after[thing].version + 1)
            after[thing] = held
            items.append(held)
        return Operation("add", after, items=tuple(items), atomic=len(items) <= BATCH)

    def _plan_import(self) -> Operation:
        """New items whose pictures others have in originals/, so that another model can encode them, too."""
        contents = sorted({held.content for held in self.world.values() if held.path is None})
        items = [
            Held(
                f"imported/{next(self._names)}",
                self.random.choice(_LABELS),
                next(self._notes),
                self.random.choice(contents),
                1,
                source=False,
                path=None,
            )
            for _ in range(self.random.choice([1, 3, 12]))
        ]
        return Operation(
            "import", {**self.world, **{next(self._things): held for held in items}}, items=tuple(items), atomic=True
        )

    def _plan_remove(self) -> Operation:
        gone = self.random.sample(sorted(self.world), k=self.random.choice([1, 2, min(12, len(self.world) - 1)]))
        after = {thing: held for thing, held in self.world.items() if thing not in gone}
        return Operation("remove", after, keys=tuple(self.world[thing].key for thing in gone), atomic=True)

    def _plan_update(self) -> Operation:
        thing = self.random.choice(sorted(self.world))
        old = self.world[thing]
        image = self.random.random() < 0.5
        content = self.random.choice([number for number in range(CONTENTS) if number != old.content])
        new = replace(
            old,
            label=self.random.choice(_LABELS),
            note=1000 + next(self._notes),
            content=content if image else old.content,
            path=None if image else old.path,
            version=old.version + 1,
        )
        return Operation("update", {**self.world, thing: new}, items=(new,), image=image, atomic=True)


def possible_states(worlds: Sequence[World]) -> dict[int, set[Held | None]]:
    """Item -> what it may be while an index goes from the first of these worlds to the last; None: absent."""
    things = {thing for world in worlds for thing in world}
    return {thing: {world.get(thing) for world in worlds} for thing in things}
