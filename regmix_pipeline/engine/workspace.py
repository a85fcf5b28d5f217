"""The workspace: an opened study, and what each stage has to make again.

What exists is not made again, what is made is recorded, what changed is said.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regmix_pipeline.engine.changes import recipe_changes
from regmix_pipeline.engine.home import remember_file
from regmix_pipeline.engine.home_lock import home_lock
from regmix_pipeline.engine.ledger import build_ledger, ledger_is_current
from regmix_pipeline.engine.leftovers import sweep
from regmix_pipeline.engine.opened import CONTENT, OpenedStudy
from regmix_pipeline.engine.parts import part_bytes, part_path
from regmix_pipeline.engine.reasons import FORCED, NEW, Kind, Reason
from regmix_pipeline.engine.recorder import Output, Recorder
from regmix_pipeline.engine.records import Recipe, Record
from regmix_pipeline.engine.stage import Stage
from regmix_pipeline.engine.sums import is_noted, written_to
from regmix_pipeline.errors import LedgerError, RegmixError
from regmix_pipeline.files import damage_of, sha256_of, write_json, write_together

WRITTEN_IN = ("*/", "shards/*/", "evaluations/*/")
"""Folders of a home in which files and folders are written under a temporary name first."""
WORK: defaultdict[str, float] = defaultdict(float)
"""Stage -> seconds spent in its own work by this process; the rest of a run's time is orchestration."""


@dataclass(frozen=True)
class PartitionResult:
    """One key after a stage has run.

    Attributes:
        key: partition key, or `UNPARTITIONED`.
        record: what it holds now; None when it failed.
        reused: whether it was there before.
        error: why it failed.
        reason: why it had to be made; None when it was reused.
        previous: what it held until now; None when it is new.
        restored: whether it was made from the same recipe before, and only made current again.
    """

    key: str
    record: Record | None
    reused: bool
    error: RegmixError | None = None
    reason: Reason | None = None
    previous: Record | None = None
    restored: bool = False


class Workspace(OpenedStudy):
    """A study on disk; see `OpenedStudy` for what it is opened by."""

    _recorder: Recorder | None = None
    """Takes what the running stage makes; None while none runs."""
    forced: frozenset[str] = frozenset()
    """Stages that are computed even where they are up to date."""

    def opened_again(self) -> Workspace:
        """The workspace as it is now: what it looked at before does not count any more, and nothing is forced."""
        return Workspace(self.study_file, self.home, self.data, run=self.run, workers=self.workers, say=self.say)

    def write_json(self, value: Any, *parts: str) -> Path:
        """Write a JSON artefact under the home; returns its path."""
        path = self.path(*parts)
        write_json(path, value)
        return path

    def write_rows(self, table: str, version: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write a part of a ledger table; `version` is added to every row. A stage's parts come with its record."""
        path = part_path(self.path("tables"), table, version)
        content = part_bytes(table, [{"version": version, **row} for row in rows])
        if self._recorder is None:
            write_together({path: content})
        else:
            self._recorder.parts[path] = content
        return path

    def build_ledger(self) -> Path:
        """Make the DuckDB file from all records and parts."""
        return build_ledger(self.records, self.path("tables"), self.ledger, self.say)

    def keep_ledger(self) -> None:
        """Build the ledger again where it is not there, damaged, behind the records, or was written to by others."""
        if not ledger_is_current(self.records, self.ledger) or not is_noted(self.ledger):
            self.build_ledger()
        elif written_to(self.ledger):
            self.say(f"{self.ledger} was written to by something else than regmix: it is built again from its parts")
            self.build_ledger()

    def stale(self, stage: Stage, wanted: Mapping[str, Recipe] | None = None) -> dict[str, Reason]:
        """Key -> why it has to be made, for every key that is not what it should be; ``wanted`` if it is known."""
        reasons = {}
        for key, recipe in (stage.expected_recipes(self) if wanted is None else wanted).items():
            reason = self._reason(stage, key, recipe)
            if reason:
                reasons[key] = reason
        return reasons

    def withdrawn(self, stage: Stage, wanted: Mapping[str, Recipe] | None = None) -> list[str]:
        """Keys that have a record but are no longer wanted; ``wanted`` if it is known."""
        return sorted(
            set(self.records.keys(stage.name)) - set(stage.expected_recipes(self) if wanted is None else wanted)
        )

    def materialise(
        self, stage: Stage, keys: Sequence[str] | None = None, *, wait: bool = True
    ) -> Iterator[PartitionResult]:
        """Make what is stale among ``keys`` (default: all), record it, and yield every key as it is ready.

        Args:
            stage: the stage.
            keys: partition keys.
            wait: whether to wait for another run that works in this home.

        Raises:
            LedgerError: an upstream stage was not made, or a key is not one of the stage's.
            BusyError: another run is running, and nobody waits for it.
        """
        with self._exclusive_lock(wait):
            self._sweep()
            self.records.journal.tend()
            wanted = stage.expected_recipes(self)
            for key in self.withdrawn(stage, wanted):
                self.records.forget(stage.name, key)
            self.keep_ledger()
            asked = list(wanted) if keys is None else list(keys)
            unknown = sorted(set(asked) - set(wanted))
            if unknown:
                raise LedgerError(
                    f"no such partition: {', '.join(unknown)}", where=stage.name, remedy="choose one the study has now"
                )
            missing, reasons = {}, {}
            for key in asked:
                if reason := self._reason(stage, key, wanted[key]):
                    missing[key], reasons[key] = wanted[key], reason
                else:
                    yield PartitionResult(key, self.records.current(stage.name, key), reused=True)
            for key in missing:
                self._delete_damaged(stage, key)
                if reasons[key] is FORCED:
                    self._delete_output(stage, key)
            # Not when nobody waits for the rest any more: then the next run builds the ledger.
            made = bool(missing)
            try:
                yield from self._restored(stage, missing, reasons)
                if missing:
                    yield from self._make(stage, missing, reasons)
            except Exception:
                self._observed(stage)
                self.build_ledger()
                raise
            if self._observed(stage) or made:
                self.build_ledger()

    def _observed(self, stage: Stage) -> bool:
        """Observe again what a stage may have left on disk; returns whether it is something else than before."""
        found = []
        for each in stage.observers:
            wanted = each.expected_recipes(self)
            stale = self.stale(each, wanted)
            found += self._make(each, {key: wanted[key] for key in stale}, stale) if stale else []
        return bool(found)

    def _restored(
        self, stage: Stage, missing: dict[str, Recipe], reasons: Mapping[str, Reason]
    ) -> Iterator[PartitionResult]:
        """Make former records current again where they are just what is wanted; these keys are missing no more."""
        kept = self.restorable(stage, missing)
        before = {key: self.records.current(stage.name, key) for key in kept}
        if kept:
            self.records.save(*kept.values())
        for key, record in kept.items():
            del missing[key]
            yield PartitionResult(key, record, reused=False, reason=reasons[key], previous=before[key], restored=True)

    def _delete_output(self, stage: Stage, key: str) -> None:
        """Delete the files of a key that would be taken up by their names."""
        record = self.records.current(stage.name, key)
        for name in record.files if record is not None and stage.output_folder else ():
            if name.startswith(f"{stage.output_folder}/"):
                self.path(name).unlink(missing_ok=True)

    def _delete_damaged(self, stage: Stage, key: str) -> None:
        """Delete what is damaged of a key: what is named by its content is otherwise taken for made."""
        record = self.records.current(stage.name, key)
        for name, _ in self._damaged(record) if record is not None else ():
            self.path(name).unlink(missing_ok=True)

    def restorable(self, stage: Stage, recipes: Mapping[str, Recipe]) -> dict[str, Record]:
        """Key -> the record that was made from exactly this recipe before and whose files are all as they were.

        Args:
            stage: the stage.
            recipes: key -> recipe wanted now, of keys that are stale.
        """
        found = {}
        for key, recipe in recipes.items() if stage.restores and stage.name not in self.forced else ():
            kept = self.records.made_from(stage.name, key, recipe.id)
            if kept and self._is_intact(kept[-1]):
                found[key] = kept[-1]
        return found

    def _is_intact(self, record: Record) -> bool:
        """Whether a record's files are there, and those with a checksum on record are as they were."""
        return all((self.home / name).exists() for name in {*record.files, *record.sums}) and all(
            sha256_of(self.home / name) == checksum for name, checksum in record.sums.items()
        )

    def _sweep(self) -> None:
        """Delete what killed runs left half-written, once nobody has touched it for an hour."""
        if "swept" not in self.memory:
            below = (folder for pattern in WRITTEN_IN for folder in self.home.glob(pattern))
            self.memory["swept"] = [sweep(folder) for folder in (self.home, *below)]

    def withdraw(self, asset: str) -> None:
        """Stop listing an asset as made, because a check failed: it is made and checked again next time."""
        keys = self.records.keys(asset)
        self.records.refuse(*(record for key in keys if (record := self.records.current(asset, key)) is not None))
        for key in keys:
            self.records.forget(asset, key)

    @contextmanager
    def _exclusive_lock(self, wait: bool = True) -> Iterator[None]:
        """One run at a time works in a home; a second one waits and then finds what the first has made."""
        with home_lock(self.home, self.say, wait=wait, run=self.run):
            remember_file(self.home, self.study_file)
            yield

    def _make(
        self, stage: Stage, recipes: Mapping[str, Recipe], reasons: Mapping[str, Reason]
    ) -> Iterator[PartitionResult]:
        recorder = self._recorder = Recorder(self.records, self.home, stage.name, self.run)
        try:
            for output in _timed(stage, stage.compute(self, recipes)):
                recorder.add(output, recipes[output.key])
                if not output.followed or recorder.full:
                    yield from _recorded(recorder, reasons)
                if output.error is not None:
                    yield PartitionResult(
                        output.key, None, reused=False, error=output.error, reason=reasons[output.key]
                    )
        except Exception:
            yield from _recorded(recorder, reasons)
            raise
        finally:
            self._recorder = None
        yield from _recorded(recorder, reasons)

    def _reason(self, stage: Stage, key: str, recipe: Recipe) -> Reason | None:
        """Why the key must be made again, or None when its record and files stand."""
        if stage.name in self.forced:
            return FORCED
        record = self.records.current(stage.name, key)
        if record is None:
            damage = self.records.damage(stage.name, key)
            # As all reasons, by its name in the home: a forecast looks at a copy of the home's folders.
            if damage is None:
                return NEW
            return Reason(Kind.DAMAGED, (f"its record {Path(damage.where).relative_to(self.home)}",), damage.problem)
        gone = [name for name in (*record.files, *record.sums) if not (self.home / name).exists()]
        if gone:
            return Reason(Kind.MISSING, tuple(gone))
        for name, problem in self._damaged(record):
            return Reason(Kind.DAMAGED, (name,), problem)
        return recipe_changes(record, recipe)

    def _damaged(self, record: Record) -> Iterator[tuple[str, str]]:
        """Files of a record that were cut short or overwritten, and what is wrong with them.

        Files that were changed and can be read are the audit's to find.
        """
        for name, checksum in record.sums.items():
            path = self.home / name
            # Of tokens and weights only the empty file shows: they are not read through whenever a key is looked at.
            if name.endswith(CONTENT) and path.exists() and path.stat().st_size:
                continue
            if not path.exists() or sha256_of(path) != checksum:
                problem = damage_of(path)
                if problem:
                    yield name, problem


def _recorded(recorder: Recorder, reasons: Mapping[str, Reason]) -> Iterator[PartitionResult]:
    """Record what is pending, and yield it."""
    for record, before in recorder.flush():
        yield PartitionResult(record.key, record, reused=False, reason=reasons[record.key], previous=before)


def _timed(stage: Stage, outputs: Iterator[Output]) -> Iterator[Output]:
    """The same outputs, with the time that making them takes counted in `WORK`."""
    while True:
        started = time.monotonic()
        try:
            output = next(outputs)
        except StopIteration:
            return
        finally:
            WORK[stage.name] += time.monotonic() - started
        yield output
