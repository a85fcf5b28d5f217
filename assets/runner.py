"""Run what is stale through Dagster, in this process.

The same assets and events as from the Dagster UI; what is up to date starts no run at all.
"""

from __future__ import annotations

import re
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, groupby
from operator import itemgetter

import dagster as dg

from regmix_pipeline.assets.events import ONLY_STALE, error_of_failure
from regmix_pipeline.assets.hooks import OBSERVED
from regmix_pipeline.assets.looks import observation
from regmix_pipeline.assets.names import StudyNames, names_of, stage_name
from regmix_pipeline.assets.partitions import register
from regmix_pipeline.assets.run_progress import RunProgress, StageRun, StageWork, work_of
from regmix_pipeline.assets.triggers import tags_of_command
from regmix_pipeline.documents.domains import DOMAINS, scan_watched
from regmix_pipeline.engine.home import remember_file
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import DISK_FULL, FREE_SPACE, DiskFullError, RegmixError, full_disk_named, is_full_disk
from regmix_pipeline.mixtures.rounds import next_round, round_sizes
from regmix_pipeline.resources.instance import opened_instance
from regmix_pipeline.resources.run_locks import LOCKED_TAG, RunLock, end_dead_runs, end_run
from regmix_pipeline.search.further import FURTHER_MIXTURES, take_round
from regmix_pipeline.stages import STAGES, up_to
from regmix_pipeline.stopping import reported_on_stop

_REMEDY = "fix the cause"
_AGAIN = "run again: finished work is kept, and the run shows in the Dagster UI (`regmix ui`)"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailedError(RegmixError):
    """A stage failed; what had been finished before is kept."""


def run_stale(
    workspace: Workspace,
    stages: Sequence[Stage] = STAGES,
    command: str = "regmix run",
    instance: dg.DagsterInstance | None = None,
) -> list[StageRun]:
    """Bring every stage up to date, in order, and say what was made and why.

    Stages that belong together are one Dagster run, from the first that has something to do: the data, the training,
    the measuring, the decision. What is observed needs no run.

    Args:
        workspace: the study on disk.
        stages: the stages to run, upstream first.
        command: what the person who runs them typed, for the records.
        instance: where runs and events go; default the home's own.

    Raises:
        RunFailedError: a stage failed. Running again makes what is missing and nothing else.
    """
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    of_home = opened_instance(workspace.home) if instance is None else nullcontext(instance)
    with full_disk_named(str(workspace.home)), of_home as instance:
        end_dead_runs(instance, workspace.say)
        workspace.keep_ledger()
        remember_file(workspace.home, workspace.study_file)
        progress = RunProgress(workspace, instance, stages)
        job = _definitions(workspace, progress).resolve_implicit_global_asset_job_def()
        for group in _runs(stages):
            for stage in group:
                if stage.name in OBSERVED:
                    _observe(workspace, instance, stage, progress)
            workspace.join()  # domains may have come or gone
            made = [stage for stage in group if stage.name not in OBSERVED]
            for number, stage in enumerate(made):
                work = work_of(instance, workspace, stage)
                if work.any:
                    _launch(job, instance, workspace, made[number:], work, command, progress)
                    break
                progress.up_to_date(stage, work)
    return progress.done


def run_study(workspace: Workspace, command: str = "regmix run") -> list[StageRun]:
    """Bring the whole study up to date, round after round, and say what was made and why.

    Raises:
        RunFailedError: a stage failed. Running again goes on where this ended.
    """
    done: list[StageRun] = []
    forced = workspace.forced
    if workspace.study.trains and len(round_sizes(workspace.study)) > 1:
        while True:
            done += run_stale(workspace, up_to(FURTHER_MIXTURES), command)
            workspace = workspace.opened_again()
            if next_round(workspace) is None:
                break
            adoption = take_round(workspace, command)
            workspace.say(adoption.said)
            if not adoption.asked:
                break
            workspace = workspace.opened_again()
        workspace.forced = forced - {stage.name for stage in up_to(FURTHER_MIXTURES)}
    return done + run_stale(workspace, STAGES, command)


def _runs(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """The stages that are run together: each that has a partition for each mixture is one by itself."""
    alone = [stage.partitions == "mixture" for stage in stages]
    for _, group in groupby(zip(accumulate(alone), alone, stages, strict=True), key=itemgetter(0, 1)):
        yield [stage for *_, stage in group]


def _definitions(workspace: Workspace, progress: RunProgress) -> dg.Definitions:
    """The shipped assets with this workspace's folders."""
    from regmix_pipeline.definitions import command_definitions

    return command_definitions(workspace.study_file, workspace.home, workspace.data, workspace.workers or 0, progress)


def _observe(workspace: Workspace, instance: dg.DagsterInstance, stage: Stage, progress: RunProgress) -> None:
    """Look at the world outside, and report what is there."""
    workspace.join()
    work = work_of(instance, workspace, stage)
    if work.any:
        with progress.making(stage, work):
            for made in workspace.materialise(stage, list(work.stale)):
                if made.error is not None:
                    raise _failed(stage.name, made.error)
                instance.report_runless_asset_event(observation(workspace, stage, made))
        workspace.join()
        register(instance, names_of(workspace).sources, list(workspace.study.sources))
    else:
        progress.up_to_date(stage, work)
    if stage is DOMAINS:
        for line in scan_watched(workspace).lines:
            workspace.say(f"      {line}")


def _launch(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    workspace: Workspace,
    stages: Sequence[Stage],
    first: StageWork,
    command: str,
    progress: RunProgress,
) -> None:
    """One run of some stages, of which each makes what is stale of it."""
    names = names_of(workspace)
    tags = {ONLY_STALE: "yes", LOCKED_TAG: "yes", **tags_of_command(command, f"{stages[0].name}: {first}")}
    run = str(uuid.uuid4())
    # Its lock first: a run without one cannot be distinguished from one that was killed.
    with RunLock(instance.root_directory, run).held(command), _ended_on_stop(run):
        result = job.execute_in_process(
            instance=instance,
            asset_selection=names.asset_keys(stages),
            run_id=run,
            tags=tags,
            run_config=_QUIET,
            raise_on_error=False,
        )
        where = progress.at.name if progress.at else stages[0].name
        if not result.dagster_run.is_finished:  # its end could not be stored
            why = _why(result)
            if is_full_disk(why.problem):
                raise _full_disk(instance, where)
            raise RunFailedError(why.problem or "Dagster could not store its end", where=where, remedy="run again")
    failed: dict[str, list[str]] = {}
    for found in result.get_asset_check_evaluations():
        if not found.passed:
            failed.setdefault(stage_name(found.asset_key), []).append(
                f"{found.check_name}: {found.description or ''}".rstrip(": ")
            )
    progress.checked(failed)
    if not result.success:
        why = _why(result, [each for checks in failed.values() for each in checks])
        where = _failed_stage(result, names, stages) or where
        if is_full_disk(why.problem):
            raise _full_disk(instance, where)
        raise _failed(where, why)


def _failed(stage: str, why: RegmixError) -> RunFailedError:
    """The end of a run in which a stage failed: one place, one remedy."""
    place = why.where if re.match(rf"{stage}\b", why.where) else f"{stage}: {why.where}".removesuffix(": ")
    return RunFailedError(why.problem, where=place, remedy=f"{why.remedy or _REMEDY}; then {_AGAIN}")


def _failed_stage(result: dg.ExecuteInProcessResult, names: StudyNames, stages: Sequence[Stage]) -> str | None:
    """The stage of the first step that failed."""
    steps = {names.op_name(stage): stage.name for stage in stages}
    return next((steps[e.step_key] for e in result.all_events if e.is_step_failure and e.step_key in steps), None)


def _full_disk(instance: dg.DagsterInstance, stage: str) -> DiskFullError:
    return DiskFullError(f"{DISK_FULL}: {stage} stopped", where=instance.root_directory, remedy=FREE_SPACE)


def _ended_on_stop(run: str) -> AbstractContextManager[None]:
    """Report the run as cancelled if the command is stopped while it is running."""

    def report() -> None:
        # Of its own: the work's thread may be in the middle of something with the other.
        with dg.DagsterInstance.get() as instance:
            unfinished = instance.get_run_by_id(run)
            if unfinished is not None:
                end_run(instance, unfinished, "interrupted by a signal", canceled=True)

    return reported_on_stop(report)


def _why(result: dg.ExecuteInProcessResult, failed_checks: Sequence[str] = ()) -> RegmixError:
    """Why a run failed, without Dagster's stack: what its first failed step says, then the checks that failed."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if (said := data.user_failure_data) is not None and said.description:
                found = error_of_failure(said.description, said.metadata)
                return RegmixError("; ".join([found.problem, *failed_checks]), where=found.where, remedy=found.remedy)
            error = data.error
            if error is not None and not failed_checks:
                cause = error.cause or error
                return RegmixError(cause.message.strip())
    return RegmixError("; ".join(failed_checks))
