"""Commands that bring a study up to date: run, refit, status, plan."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, Workers, answer, app, open_workspace, plain_errors
from regmix_pipeline.engine.workspace import WORK, Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.progress import clock
from regmix_pipeline.stopping import stoppable
from regmix_pipeline.study.study import Study
from regmix_pipeline.study_check.check import begin, check_study

if TYPE_CHECKING:
    from regmix_pipeline.assets.runner import StageRun

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--change",
        help="A field of the study file to read otherwise, FIELD=VALUE, such as domains.code.cap=0.3 (nothing "
        "after = leaves it out); may be given several times. The file stays as it is.",
    ),
]


@app.command()
@plain_errors
@stoppable
def run(
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    workers: Workers = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Run the demo: writes its study file, demo.yaml, here unless it is there.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Compute again what is up to date as well.")] = False,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="With --force: the stage to compute again, instead of all; may be given several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the whole study up to date through Dagster; what is up to date is left alone."""
    started = time.monotonic()
    if demo:
        study = _demo(study)
    workspace = open_workspace(study, home, data, workers=workers)
    workspace.forced = _forced(force, stage or [])
    from regmix_pipeline.assets.runner import run_study
    from regmix_pipeline.decisions.show import show_decision

    begin(workspace)
    done = run_study(workspace)
    workspace = workspace.opened_again()
    made = sum(len(stage.stale) for stage in done)
    answer(_outcome(workspace, done), lambda console: show_decision(workspace, console), as_json)
    changed = list(dict.fromkeys(stage.stage for stage in done if stage.stale))
    what = f"made {made} partitions of {', '.join(changed)}" if changed else "nothing to do: everything is up to date"
    seconds = time.monotonic() - started
    share = f" · {sum(WORK.values()) / seconds:.0%} of it in the stages' own work" if changed else ""
    workspace.say(f"{what} · {clock(seconds)}{share}")


@app.command()
@plain_errors
@stoppable
def refit(
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    workers: Workers = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=0, help="Training tokens to spend on everything; default refit.max_new_tokens of the study."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the study up to date within a budget, then train proposed mixtures in batches until the decision is stable.

    Whatever would be trained counts: stale proxies, proposed ones, the confirmation. What the budget does not hold is
    left out, and said.
    """
    from regmix_pipeline.assets.refitting import refit_within
    from regmix_pipeline.decisions.show import show_decision

    workspace = open_workspace(study, home, data, workers=workers)
    begin(workspace)
    done, left_out = refit_within(workspace, max_new_tokens)
    workspace = workspace.opened_again()
    decided = workspace.records.current("mixture_decision") is not None
    answer(
        _outcome(workspace, done) | {"left_out": left_out},
        lambda console: show_decision(workspace, console) if decided else console.print("no decision yet"),
        as_json,
    )


def _demo(study: Path | None) -> Path:
    from regmix_pipeline.study_init.demo import demo_study

    if study is not None:
        raise StudyError("--demo names a study file too", where=f"--study {study}", remedy="give one of them")
    return demo_study()


def _forced(force: bool, stages: Sequence[str]) -> frozenset[str]:
    """The stages to compute even where they are up to date."""
    from regmix_pipeline.stages import STAGES

    names = [stage.name for stage in STAGES]
    if unknown := [name for name in stages if name not in names]:
        raise StudyError(f"no such stage: {', '.join(unknown)}", where="--stage", remedy=f"one of {', '.join(names)}")
    if stages and not force:
        raise StudyError("says what to compute again", where="--stage", remedy="give --force with it")
    return frozenset(stages or names) if force else frozenset()


def _outcome(workspace: Workspace, done: Sequence[StageRun]) -> dict[str, Any]:
    """What a run ends with, JSON-able: what was made and why, and the decision's record."""
    made = [
        {
            "stage": run.stage,
            "made": {key: str(reason) for key, reason in run.stale.items()},
            "restored": sorted(run.restored),
            "failed_checks": run.failed_checks,
        }
        for run in done
        if run.stale
    ]
    decided = workspace.records.current("mixture_decision") is not None
    return {"made": made, "decision": workspace.json("mixture_decision", "decision.json") if decided else None}


@app.command()
@plain_errors
def status(
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    change: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Say what each stage holds, what `regmix run` would make again and why, and what it would train, in tokens.

    Starts nothing, fetches nothing. With --change: what that change of the study would cost.
    """
    from regmix_pipeline.planning.forecast.forecast import forecast_of
    from regmix_pipeline.planning.forecast.moved import moved_branch
    from regmix_pipeline.planning.forecast.show import forecast_as_json, show_forecast

    workspace = open_workspace(study, home, data, changes=change or (), quiet=True)
    found = forecast_of(workspace)
    found = replace(found, suggestions=(*found.suggestions, *moved_branch(workspace)))
    answer(forecast_as_json(workspace, found), lambda console: show_forecast(workspace, found, console), as_json)


@app.command()
@plain_errors
def plan(
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    workers: Workers = None,
    change: Changes = None,
    hardware: Annotated[
        str | None,
        typer.Option(help="A name of the catalogue (h100-sxm, a100-sxm-80gb, l4, cpu-64) or a YAML file."),
    ] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="How many devices, instead of what it says.")] = None,
    teraflops: Annotated[
        float | None, typer.Option(min=1e-9, help="Sustained TFLOP/s of the hardware, all devices together.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a study takes before it is run: time, device hours, cost, memory, disk, rows in the ledger.

    Without --hardware and --teraflops: on this machine, from what the study's home recorded or from a trial of up to a
    minute. What is to go is what `regmix status` forecasts. With --change: what that change of the study would take.
    """
    from regmix_pipeline.errors import PlanError
    from regmix_pipeline.planning.hardware import hardware_of
    from regmix_pipeline.planning.plan import plan_study
    from regmix_pipeline.planning.show import plan_as_json, show_plan

    if hardware is not None and teraflops is not None:
        raise PlanError("both are given", where="--hardware, --teraflops", remedy="give one of them")
    if teraflops is not None and not math.isfinite(teraflops):
        raise PlanError(f"{teraflops} is not a rate", where="--teraflops", remedy="give a number, such as 400")
    if devices is not None and hardware is None:
        raise PlanError("of which hardware?", where="--devices", remedy="name it: --hardware h100-sxm --devices 64")
    workspace = open_workspace(study, home, data, workers=workers, changes=change or ())
    chosen = hardware_of(hardware, devices) if hardware is not None else None
    lines = check_study(workspace, elsewhere=chosen is not None or teraflops is not None)
    found = plan_study(
        workspace.study,
        teraflops=teraflops,
        hardware=chosen,
        base=workspace.base,
        workspace=workspace,
        say=workspace.say,
    )
    found = replace(found, warnings=(*lines, *found.warnings))
    answer(plan_as_json(found), lambda console: show_plan(found, console), as_json)


@app.command()
def schema() -> None:
    """Print the study file's JSON schema, for editors."""
    json.dump(Study.model_json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
