"""Run what is stale, stage by stage, through Dagster, in this process.

The same assets, runs and events as from the Dagster UI; what is up to date starts no run at all.
"""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import dagster as dg

from assets.events import ONLY_STALE, told_of
from assets.partitions import MIXTURES, RANGE_END, RANGE_START, SOURCES, register
from assets.triggers import tags_of_command
from regmix_pipeline.documents.domains import DOMAINS, look_around
from regmix_pipeline.errors import DISK_FULL, FREE_SPACE, DiskFullError, RegmixError, full_disk_named, is_full_disk
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.records import Recipe
from regmix_pipeline.progress import Say, at_work, clock
from regmix_pipeline.stages import STAGES
from regmix_pipeline.stopping import reported_on_stop
from resources.instance import opened_instance
from resources.lab import LabResource
from resources.ledger import LedgerResource
from resources.pools import waiting_told
from resources.run_locks import LOCKED_TAG, RunLock, end_dead_runs, end_run
from resources.trainer import TrainerResource

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class StageRun:
    """One stage's part in a run: what was stale and why, and how long it took in seconds."""

    stage: str
    keys: int
    stale: dict[str, str]
    seconds: float
    failed_checks: tuple[str, ...] = ()
    restored: frozenset[str] = frozenset()
    """Stale keys that were made from the same inputs before, and were only made current again."""


class RunFailedError(RegmixError):
    """A stage failed; what had been finished before is kept."""


def run_stale(lab: Lab, stages: Sequence[Stage] = STAGES, command: str = "regmix run") -> list[StageRun]:
    """Bring every stage up to date, in order, and say what was made and why.

    Args:
        lab: the study on disk.
        stages: the stages to run, upstream first.
        command: what the person who runs them typed, for the records.

    Raises:
        RunFailedError: a stage failed. Running again makes what is missing and nothing else.
    """
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    job = _definitions(lab).resolve_implicit_global_asset_job_def()
    done = []
    with full_disk_named(str(lab.home)), opened_instance(lab.home) as instance:
        end_dead_runs(instance, lab.say)
        lab.keep_ledger()
        for number, stage in enumerate(stages, 1):
            started = time.monotonic()
            # Domains may have come or gone in the stage before.
            lab.join()
            wanted = stage.wanted(lab)
            stale, withdrawn = lab.stale(stage, wanted), lab.withdrawn(stage, wanted)
            restored = frozenset(lab.restorable(stage, {key: wanted[key] for key in stale}))
            keys = _register(instance, stage, list(wanted))
            failed_checks: tuple[str, ...] = ()
            untold = sorted(_untold(instance, stage, wanted) - stale.keys())
            if stale or withdrawn or untold:
                lab.say(f"[{number}/{len(stages)}] {stage.name}: {_what(stage, stale, len(keys), withdrawn, untold)}")
                with at_work(stage.name):
                    if stale or untold:
                        failed_checks = _launch(job, instance, stage, keys, stale, untold, command, lab.say)
                    else:
                        list(lab.materialise(stage, []))
            seconds = time.monotonic() - started
            if stale or withdrawn or untold:
                lab.say(f"[{number}/{len(stages)}] {stage.name}: done in {clock(seconds)}")
            else:
                lab.say(f"[{number}/{len(stages)}] {stage.name}: up to date")
            if stage is DOMAINS:
                for line in look_around(lab).lines:
                    lab.say(f"      {line}")
            if restored:
                lab.say(f"      {len(restored)} of {len(stale)} taken up as made before from the same inputs")
            for check in failed_checks:
                lab.say(f"      check failed: {check}")
            done.append(StageRun(stage.name, len(keys), stale, seconds, failed_checks, restored))
    return done


def _definitions(lab: Lab) -> dg.Definitions:
    """The shipped definitions with this lab's folders."""
    from regmix_pipeline.definitions import defs

    trainer = TrainerResource(workers=lab.workers or 0)
    resource = LabResource(trainer=trainer, study_file=str(lab.study_file), home=str(lab.home), data=str(lab.data))
    return dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        resources={"lab": resource, "trainer": trainer, "ledger": LedgerResource(lab=resource)},
        executor=dg.in_process_executor,
    )


def _register(instance: dg.DagsterInstance, stage: Stage, keys: list[str]) -> list[str]:
    """The stage's keys in partition order, registered with Dagster."""
    if stage.partitions is None:
        return keys
    partitions = SOURCES if stage.partitions == "domain" else MIXTURES
    register(instance, partitions, keys)
    return list(instance.get_dynamic_partitions(partitions.name or ""))


def _launch(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    stage: Stage,
    keys: Sequence[str],
    stale: dict[str, str],
    untold: Sequence[str],
    command: str,
    say: Say,
) -> tuple[str, ...]:
    """One run of the stage over the range that holds every stale or untold key; returns checks that failed."""
    tags = {
        ONLY_STALE: "yes",
        LOCKED_TAG: "yes",
        **tags_of_command(command, _what(stage, stale, len(keys), [], untold)),
    }
    if _in_partitions(stage):
        places = sorted(keys.index(key) for key in [*stale, *untold])
        tags |= {RANGE_START: keys[places[0]], RANGE_END: keys[places[-1]]}
    run = str(uuid.uuid4())
    # Its lock first: a run without one cannot be told from one that was killed.
    with RunLock(instance.root_directory, run).held(command), waiting_told(instance, run, say), _ended_on_stop(run):
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(stage.name)],
            run_id=run,
            tags=tags,
            run_config=_QUIET,
            raise_on_error=False,
        )
        if not result.dagster_run.is_finished:  # its end could not be stored
            if is_full_disk(_why(result)):
                raise _full_disk(instance, stage)
            raise RunFailedError(
                _why(result) or "Dagster could not store its end", where=stage.name, remedy="run again"
            )
    failed = tuple(
        f"{evaluation.check_name}: {evaluation.description or ''}".rstrip(": ")
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    )
    if not result.success:
        why = _why(result, failed)
        if is_full_disk(why):
            raise _full_disk(instance, stage)
        raise RunFailedError(
            why,
            where=stage.name,
            remedy="mend it and run again: finished work is kept, and the run shows in the Dagster UI (`make ui`)",
        )
    return failed


def _full_disk(instance: dg.DagsterInstance, stage: Stage) -> DiskFullError:
    return DiskFullError(f"{DISK_FULL}: {stage.name} stopped", where=instance.root_directory, remedy=FREE_SPACE)


def _ended_on_stop(run: str) -> AbstractContextManager[None]:
    """Report the run as cancelled if the command is stopped while it is at work."""

    def report() -> None:
        # Of its own: the work's thread may be in the middle of something with the other.
        with dg.DagsterInstance.get() as instance:
            unfinished = instance.get_run_by_id(run)
            if unfinished is not None:
                end_run(instance, unfinished, "interrupted by a signal", canceled=True)

    return reported_on_stop(report)


def _in_partitions(stage: Stage) -> bool:
    """Whether Dagster materialises the stage partition by partition; documents are observed."""
    return stage.partitions is not None and bool(stage.upstream)


def _untold(instance: dg.DagsterInstance, stage: Stage, wanted: Mapping[str, Recipe]) -> set[str]:
    """Partitions wanted that Dagster has no event of, such as those that a run recorded just before it was killed."""
    return set(wanted) - told_of(instance, stage) if _in_partitions(stage) else set()


def _why(result: dg.ExecuteInProcessResult, failed_checks: Sequence[str] = ()) -> str:
    """Why a run failed, without Dagster's stack: what its first failed step says, then the checks that failed."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                return "; ".join([data.user_failure_data.description, *failed_checks])
            error = data.error
            if error is not None and not failed_checks:
                cause = error.cause or error
                return cause.message.strip()
    return "; ".join(failed_checks)


def _what(
    stage: Stage, stale: Mapping[str, str], total: int, withdrawn: Sequence[str], untold: Sequence[str] = ()
) -> str:
    """``3 of 10 mixtures to make: m1, m2, m3 (changed: token_shards/books)``."""
    parts = []
    if stale:
        reasons: dict[str, list[str]] = {}
        for key, reason in stale.items():
            reasons.setdefault(reason, []).append(key)
        listed = [
            reason if list(names) == ["all"] else f"{_some(names, 3)} ({reason})"
            for reason, names in list(reasons.items())[:4]
        ]
        things = {"mixture": " mixtures", "domain": " sources"}.get(stage.partitions or "", "")
        count = "" if total == 1 and "all" in stale else f"{len(stale)} of {total}{things} to make: "
        more = f"; and {len(reasons) - 4} more reasons" if len(reasons) > 4 else ""
        parts.append(count + "; ".join(listed) + more)
    if withdrawn:
        parts.append(f"withdrawn: {_some(withdrawn, 5)}")
    if untold:
        parts.append(f"made before, and told now: {_some(untold, 5)}")
    return "; ".join(parts)


def _some(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
