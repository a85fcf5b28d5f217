"""What a command's runs have to do for each stage, and what they say while they do it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import dagster as dg

from regmix_pipeline.assets.events import plain_failures, reported_partitions
from regmix_pipeline.assets.hooks import OBSERVED
from regmix_pipeline.assets.names import names_of
from regmix_pipeline.assets.partitions import register
from regmix_pipeline.engine.reasons import Reason
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.progress import at_work, clock


@dataclass(frozen=True)
class StageRun:
    """One stage's part in a run: what was stale and why, and how long it took in seconds."""

    stage: str
    keys: int
    stale: dict[str, Reason]
    seconds: float
    failed_checks: tuple[str, ...] = ()
    restored: frozenset[str] = frozenset()
    """Stale keys that were made from the same inputs before, and were only made current again."""


@dataclass(frozen=True)
class StageWork:
    """What there is to do for a stage.

    Attributes:
        stage: the stage.
        total: number of its keys.
        stale: key -> why it has to be made.
        withdrawn: keys that have a record and are no longer wanted.
        unreported: keys that are made and that Dagster has no event of, as after a kill.
        restored: stale keys that were made from the same inputs before.
    """

    stage: Stage
    total: int
    stale: dict[str, Reason]
    withdrawn: Sequence[str]
    unreported: Sequence[str]
    restored: frozenset[str]

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.stale or self.withdrawn or self.unreported)

    def __str__(self) -> str:
        """``3 of 10 mixtures to make: m1, m2, m3 (changed: token_shards/books)``."""
        parts = []
        if self.stale:
            reasons: dict[str, list[str]] = {}
            for key, reason in self.stale.items():
                reasons.setdefault(str(reason), []).append(key)
            listed = [
                reason if list(names) == ["all"] else f"{_some(names, 3)} ({reason})"
                for reason, names in list(reasons.items())[:4]
            ]
            things = {"mixture": " mixtures", "domain": " sources"}.get(self.stage.partitions or "", "")
            count = (
                ""
                if self.total == 1 and "all" in self.stale
                else f"{len(self.stale)} of {self.total}{things} to make: "
            )
            more = f"; and {len(reasons) - 4} more reasons" if len(reasons) > 4 else ""
            parts.append(count + "; ".join(listed) + more)
        if self.withdrawn:
            parts.append(f"withdrawn: {_some(self.withdrawn, 5)}")
        if self.unreported:
            parts.append(f"recorded earlier, reported to Dagster now: {_some(self.unreported, 5)}")
        return "; ".join(parts)


def work_of(instance: dg.DagsterInstance, workspace: Workspace, stage: Stage) -> StageWork:
    """What there is to do for a stage now; its partitions are registered."""
    wanted = stage.expected_recipes(workspace)
    stale = workspace.stale(stage, wanted)
    unreported = []
    partitions = names_of(workspace).partitions_of(stage)
    if partitions is not None:
        register(instance, partitions, list(wanted))
        if stage.name not in OBSERVED:
            unreported = sorted(set(wanted) - reported_partitions(instance, workspace, stage) - stale.keys())
    return StageWork(
        stage,
        len(wanted),
        stale,
        workspace.withdrawn(stage, wanted),
        unreported,
        frozenset(workspace.restorable(stage, {key: wanted[key] for key in stale})),
    )


class RunProgress:
    """Says which keys of a stage a step makes, prints what it does, and keeps it.

    Args:
        workspace: the study on disk; its `say` takes the lines.
        instance: the Dagster instance.
        stages: all stages of the command, in order.
    """

    def __init__(self, workspace: Workspace, instance: dg.DagsterInstance, stages: Sequence[Stage]) -> None:
        self._workspace, self._instance, self._stages = workspace, instance, list(stages)
        self._done: dict[str, StageRun] = {}
        self.at: Stage | None = None
        """The stage that was begun last."""

    @property
    def done(self) -> list[StageRun]:
        """What was done of each stage, in their order."""
        return [self._done[stage.name] for stage in self._stages if stage.name in self._done]

    @contextmanager
    def of(self, context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage) -> Iterator[list[str] | None]:
        """The keys that a step makes, which runs inside; none where keys are only withdrawn, None if there is nothing
        to do."""
        self.at = stage
        workspace.forced = self._workspace.forced
        with plain_failures():
            work = work_of(self._instance, workspace, stage)
        if not work.any:
            context.log.info(f"{stage.name}: up to date, nothing computed")
            self.up_to_date(stage, work)
            yield None
            return
        with self.making(stage, work):
            if not work.stale and not work.unreported:
                list(workspace.materialise(stage, []))
            yield [*work.stale, *work.unreported]

    @contextmanager
    def making(self, stage: Stage, work: StageWork) -> Iterator[None]:
        """Say what is made, and once it is, how long it took."""
        self.at, started, place = stage, time.monotonic(), self._place(stage)
        self._workspace.say(f"{place}: {work}")
        with at_work(stage.name):
            yield
        seconds = time.monotonic() - started
        self._workspace.say(f"{place}: done in {clock(seconds)}")
        if work.restored:
            self._workspace.say(
                f"      {len(work.restored)} of {len(work.stale)} restored: made earlier from the same inputs"
            )
        self._done[stage.name] = StageRun(stage.name, work.total, work.stale, seconds, (), work.restored)

    def up_to_date(self, stage: Stage, work: StageWork) -> None:
        """Say that a stage needs nothing."""
        self._workspace.say(f"{self._place(stage)}: up to date")
        self._done[stage.name] = StageRun(stage.name, work.total, {}, 0.0)

    def checked(self, failed: Mapping[str, Sequence[str]]) -> None:
        """Say which checks failed of the stages of a run."""
        for stage, checks in failed.items():
            for check in checks:
                self._workspace.say(f"      check failed: {check}")
            if stage in self._done:
                self._done[stage] = replace(self._done[stage], failed_checks=tuple(checks))

    def _place(self, stage: Stage) -> str:
        return f"[{self._stages.index(stage) + 1}/{len(self._stages)}] {stage.name}"


def _some(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
