"""Which items an index may hold after a fault: all that was acknowledged, and of what was in flight a whole part.

What may change here: nothing that makes it milder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.inspection import Observation, Seen
from tests.faults.plans import Held, Operation, World, possible_states


@dataclass
class Oracle:
    """Judges one index through its faults."""

    world: World = field(default_factory=dict)  # acknowledged, or found whole after a fault
    ids: dict[int, int] = field(default_factory=dict)  # item of the world -> its id in the index
    highest: int = 0  # id ever seen
    model: int | None = None  # active, as acknowledged

    def judge(self, found: Observation, before: World, in_flight: Operation | None) -> list[str]:
        """What is wrong, given what was acknowledged last and what was being done; then goes on from what is there."""
        worlds = [before, in_flight.after] if in_flight else [before]
        faults = list(found.findings)
        if found.model is None and before:
            return [*faults, "there is no index, though writes were acknowledged"]
        if found.model is not None and self.model not in {None, found.model} and not (in_flight and in_flight.swaps):
            faults.append(f"model {found.model} is active, not {self.model}")
        resolved = self._resolve(found, worlds, faults)
        if in_flight and in_flight.atomic and not faults and resolved not in worlds:
            faults.append(f"half of a {in_flight.kind}")
        self.world, self.model = resolved, found.model
        return faults

    def _resolve(self, found: Observation, worlds: list[World], faults: list[str]) -> World:
        """The world that is there; what does not fit goes to `faults`."""
        resolved: World = {}
        possible = possible_states(worlds)
        candidates: dict[str, list[tuple[int, Held]]] = {}
        for thing, states in possible.items():
            for held in states - {None}:
                assert held is not None
                candidates.setdefault(held.key, []).append((thing, held))
        for key, seen in found.items.items():
            fitting = [(thing, held) for thing, held in candidates.get(key, []) if _fits(seen, held)]
            if not fitting:
                faults.append(f"{key}: {'phantom' if key not in candidates else 'neither old nor new'}: {seen}")
                continue
            thing, held = fitting[0]
            if thing in resolved:
                faults.append(f"{key}: a duplicate of {resolved[thing].key}")
            resolved[thing] = held
        faults += self._check_ids(resolved, found)
        faults += [
            f"{'/'.join(sorted(held.key for held in states if held))}: missing"
            for thing, states in possible.items()
            if thing not in resolved and None not in states
        ]
        return resolved

    def _check_ids(self, resolved: World, found: Observation) -> list[str]:
        """An item keeps its id; a new one gets one that was never seen."""
        faults = []
        for thing, held in resolved.items():
            id_ = found.items[held.key].id
            known = self.ids.get(thing)
            if known is not None and known != id_:
                faults.append(f"{held.key}: its id went from {known} to {id_}")
            if known is None and id_ <= self.highest:
                faults.append(f"{held.key}: new, with id {id_}, though {self.highest} was used")
        self.ids |= {thing: found.items[held.key].id for thing, held in resolved.items()}
        self.highest = max([self.highest, *self.ids.values()])
        return faults


def _fits(seen: Seen, held: Held) -> bool:
    return (seen.label, seen.note, seen.content, seen.version, seen.path) == (
        held.label,
        held.note,
        held.content,
        held.version,
        held.path,
    )
