"""The chain from a decision to its documents, as steps: what was made, from what, when, in which run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

from regmix_pipeline.decisions.find import Decision, record_behind
from regmix_pipeline.engine.records import UNPARTITIONED, Record
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import fingerprint

DECISION = "mixture_decision"
MEMBERS = "partitions"
"""Key of a step that represents all partitions of an asset."""


class Thing(NamedTuple):
    """One version of an asset, or of one partition of it."""

    asset: str
    key: str
    version: str

    @property
    def place(self) -> str:
        """``asset/key``, as decision records write it."""
        return f"{self.asset}/{self.key}"


@dataclass(frozen=True)
class Step:
    """How one thing came to be.

    Attributes:
        made: what was made; the decision itself is a thing of asset ``mixture_decision``.
        inputs: what it was made from, sorted.
        started: UTC time, ISO 8601.
        ended: UTC time, ISO 8601.
        runs: ids of the Dagster runs; none for what was made outside Dagster.
        recipe: fingerprint of inputs and settings; "" for a folded step.
        facts: numbers and names that its record shows.
        files: artefacts, relative to the study's home -> SHA-256, "" where the record has none.
        members: for a folded step, key -> version of the partitions that it represents; a further version of a
            partition is listed as ``key@version``.
    """

    made: Thing
    inputs: tuple[Thing, ...]
    started: str
    ended: str
    runs: tuple[str, ...] = ()
    recipe: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)


def chain_of(workspace: Workspace, decision: Decision, *, collapse: bool = False) -> Iterator[Step]:
    """The steps behind a decision, what is upstream first and the decision last.

    Only the names of inputs are held for the whole chain; records are read again as their step comes, so that
    thousands of proxies fit.

    Args:
        workspace: the study on disk.
        decision: its record.
        collapse: fold all partitions of an asset into one step.

    Raises:
        LedgerError: a record of the chain is gone.
    """
    root = Thing(DECISION, UNPARTITIONED, decision["decision"])
    edges: dict[Thing, tuple[Thing, ...]] = {root: _decision_inputs(workspace, decision)}
    waiting = list(edges[root])
    while waiting:
        thing = waiting.pop()
        if thing not in edges:
            edges[thing] = _inputs(_record(workspace, decision, thing))
            waiting += edges[thing]
    order = list(TopologicalSorter(edges).static_order())
    steps = (_step(workspace, decision, thing, edges[thing]) for thing in order)
    return _folded(workspace, decision, order, edges) if collapse else steps


def step_of(record: Record) -> Step:
    """The step that a record describes."""
    ended = datetime.fromisoformat(record.made_at)
    return Step(
        made=Thing(record.asset, record.key, record.version),
        inputs=_inputs(record),
        started=(ended - timedelta(seconds=record.seconds)).isoformat(timespec="milliseconds"),
        ended=record.made_at,
        runs=(record.run,) if record.run else (),
        recipe=record.recipe,
        facts=record.facts,
        files={name: record.sums.get(name, "") for name in record.files},
    )


def _step(workspace: Workspace, decision: Decision, thing: Thing, inputs: tuple[Thing, ...]) -> Step:
    if thing.asset != DECISION:
        return step_of(_record(workspace, decision, thing))
    record = workspace.records.version(*thing)
    if record is not None:
        return step_of(record)
    run = decision.get("run") or ""  # its own file or row outlives its record
    return Step(thing, inputs, decision["decided_at"], decision["decided_at"], (run,) if run else ())


def _decision_inputs(workspace: Workspace, decision: Decision) -> tuple[Thing, ...]:
    record = workspace.records.version(DECISION, UNPARTITIONED, decision["decision"])
    if record is not None:
        return _inputs(record)
    return tuple(sorted(_thing(place, version) for place, version in decision["versions"].items()))


def _inputs(record: Record) -> tuple[Thing, ...]:
    return tuple(sorted(_thing(place, version) for place, version in record.inputs.items()))


def _thing(place: str, version: str) -> Thing:
    asset, key = place.split("@")[0].split("/", 1)
    return Thing(asset, key, version)


def _record(workspace: Workspace, decision: Decision, thing: Thing) -> Record:
    record = record_behind(workspace, decision, *thing)
    if record is None:
        raise LedgerError(
            f"no record of version {thing.version}",
            where=thing.place,
            remedy="restore the home's folder records/; `regmix audit` lists all that is gone",
        )
    return record


def _folded(
    workspace: Workspace, decision: Decision, order: list[Thing], edges: Mapping[Thing, tuple[Thing, ...]]
) -> Iterator[Step]:
    """The same chain with the partitions of each asset as one step, placed where the last of them comes."""
    partitions: dict[str, list[Thing]] = {}
    for thing in order:
        if thing.key != UNPARTITIONED:
            partitions.setdefault(thing.asset, []).append(thing)
    folded = {asset: _whole(asset, things) for asset, things in partitions.items()}

    def inputs_of(things: list[Thing]) -> tuple[Thing, ...]:
        read = {each for thing in things for each in edges[thing]}
        return tuple(sorted({each if each.key == UNPARTITIONED else folded[each.asset] for each in read}))

    for thing in order:
        if thing.key == UNPARTITIONED:
            yield replace(_step(workspace, decision, thing, edges[thing]), inputs=inputs_of([thing]))
        elif thing == partitions[thing.asset][-1]:
            members = partitions[thing.asset]
            steps = [step_of(_record(workspace, decision, member)) for member in members]
            yield Step(
                made=folded[thing.asset],
                inputs=inputs_of(members),
                started=min(step.started for step in steps),
                ended=max(step.ended for step in steps),
                runs=tuple(sorted({run for step in steps for run in step.runs})),
                facts={"partitions": len(steps)},
                members=_members(members),
            )


def _members(things: list[Thing]) -> dict[str, str]:
    found: dict[str, str] = {}
    for thing in things:
        found[thing.key if thing.key not in found else f"{thing.key}@{thing.version}"] = thing.version
    return found


def _whole(asset: str, things: list[Thing]) -> Thing:
    return Thing(asset, MEMBERS, fingerprint("partitions", sorted((thing.key, thing.version) for thing in things)))
