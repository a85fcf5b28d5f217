"""Commands that bring a study up to date: run, refit, status, plan, import-runs, ui."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import regmix_pipeline
from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, Workers, answer, app, plain_errors
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.lab import WORK, Lab
from regmix_pipeline.progress import clock
from regmix_pipeline.study import Study
from regmix_pipeline.study_check.check import begin, check_study
from regmix_pipeline.study_file import default_study_file

if TYPE_CHECKING:
    from assets.runner import StageRun


@app.command()
@plain_errors
def run(
    study: StudyFile = None, home: Home = None, data: Data = None, workers: Workers = None, as_json: AsJson = False
) -> None:
    """Bring the whole study up to date through Dagster; what is up to date is left alone."""
    started = time.monotonic()
    lab = Lab(study or default_study_file(), home, data, workers=workers)
    from assets.runner import run_stale
    from regmix_pipeline.decisions.show import show_decision

    lab.say(f"study {lab.study.name} · artefacts in {lab.home}")
    begin(lab)
    done = run_stale(lab)
    made = sum(len(stage.stale) for stage in done)
    answer(_outcome(lab, done), lambda console: show_decision(lab, console), as_json)
    changed = [stage.stage for stage in done if stage.stale]
    what = f"made {made} partitions of {', '.join(changed)}" if changed else "nothing to do: everything is up to date"
    seconds = time.monotonic() - started
    share = f" · {sum(WORK.values()) / seconds:.0%} of it in the stages' own work" if changed else ""
    lab.say(f"{what} · {clock(seconds)}{share}")


@app.command()
@plain_errors
def refit(
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    workers: Workers = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=0, help="Training tokens to spend; default refit.max_new_tokens of the study.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the study up to date, then train proposed mixtures in batches until the decision is stable."""
    from assets.runner import run_stale
    from regmix_pipeline.decisions.show import show_decision
    from regmix_pipeline.search.further import take_up

    lab = Lab(study or default_study_file(), home, data, workers=workers)
    begin(lab)
    asked, done = True, []
    while asked:
        done += run_stale(lab, command="regmix refit")
        taken = take_up(lab, "regmix refit", max_new_tokens)
        lab.say(taken.said)
        asked = taken.asked > 0
        lab = Lab(lab.study_file, lab.home, lab.data, workers=workers)
    answer(_outcome(lab, done), lambda console: show_decision(lab, console), as_json)


def _outcome(lab: Lab, done: Sequence[StageRun]) -> dict[str, Any]:
    """What a run ends with, JSON-able: what was made and why, and the decision's record."""
    made = [{"stage": run.stage, "made": run.stale, "failed_checks": run.failed_checks} for run in done if run.stale]
    return {"made": made, "decision": lab.json("mixture_decision", "decision.json")}


@app.command()
@plain_errors
def status(study: StudyFile = None, home: Home = None, data: Data = None, as_json: AsJson = False) -> None:
    """Say what each stage holds and what would be made again, and why. Starts nothing, fetches nothing."""
    from regmix_pipeline.documents.stage import missing_corpora
    from regmix_pipeline.errors import LedgerError
    from regmix_pipeline.stages import STAGES

    lab = Lab(study or default_study_file(), home, data)
    missing = missing_corpora(lab)
    rows: list[dict[str, Any]] = []
    for stage in STAGES if not missing else ():
        row: dict[str, Any] = {"stage": stage.name, "made": len(lab.records.keys(stage.name))}
        try:
            row |= {"stale": lab.stale(stage), "waits_for": []}
        except LedgerError:
            row |= {"stale": {}, "waits_for": list(stage.upstream)}
        rows.append(row)
    answer({"not_fetched": missing, "stages": rows}, lambda console: _show_status(missing, rows, console), as_json)


def _show_status(missing: Sequence[str], rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    if missing:
        console.print(f"documents: not fetched yet: {', '.join(missing)}; `regmix run` fetches them", highlight=False)
    width = max((len(row["stage"]) for row in rows), default=0)
    for row in rows:
        if row["waits_for"]:
            console.print(f"{row['stage']:<{width}} {row['made']} made; waits for {', '.join(row['waits_for'])}")
            continue
        stale = row["stale"]
        reasons = "; ".join(f"{key}: {reason}" for key, reason in list(stale.items())[:3])
        more = f"; {len(stale) - 3} more" if len(stale) > 3 else ""
        console.print(
            f"{row['stage']:<{width}} {row['made']} made, {len(stale)} stale{' · ' + reasons + more if stale else ''}",
            highlight=False,
        )


@app.command()
@plain_errors
def plan(
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    workers: Workers = None,
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
    minute. What is made already is left out of what is to go.
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
    lab = Lab(study or default_study_file(), home, data, workers=workers)
    chosen = hardware_of(hardware, devices) if hardware is not None else None
    lines = check_study(lab, elsewhere=chosen is not None or teraflops is not None)
    found = plan_study(lab.study, teraflops=teraflops, hardware=chosen, base=lab.base, lab=lab, say=lab.say)
    found = replace(found, warnings=(*lines, *found.warnings))
    answer(plan_as_json(found), lambda console: show_plan(found, console), as_json)


@app.command("import-runs")
@plain_errors
def import_runs(
    mixtures: Annotated[Path, typer.Argument(help="CSV of weights, a row per run, RegMix's or olmix's layout.")],
    losses: Annotated[Path, typer.Argument(help="CSV of losses, a row per run.")],
    study: Annotated[
        Path | None, typer.Option("--study", help="Study whose domains and targets the columns must be.")
    ] = None,
    write: Annotated[Path, typer.Option(help="Study file to write when no study is given.")] = Path("imported.yaml"),
    target: Annotated[str | None, typer.Option(help="Target to minimise; default: all of them alike.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check runs trained elsewhere, and make them evidence: of a study, or of a new one about them."""
    from regmix_pipeline.proxies.new_study import add_to_study, study_about

    if study is not None:
        runs = add_to_study(study, mixtures, losses)
        written = study
    else:
        runs = study_about(mixtures, losses, write, target)
        written = write
    said = f"{len(runs)} runs checked; {written} names them. Next: regmix run --study {written}"
    answer({"runs": len(runs), "study": str(written)}, lambda console: console.print(said, soft_wrap=True), as_json)


@app.command()
def schema() -> None:
    """Print the study file's JSON schema, for editors."""
    json.dump(Study.model_json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")


@app.command()
@plain_errors
def ui(
    study: StudyFile = None, home: Home = None, data: Data = None, port: int = 3000, host: str = "127.0.0.1"
) -> None:
    """Open the study in the Dagster UI: the graph, every run, every partition."""
    from resources.instance import prepare_instance

    lab = Lab(study or default_study_file(), home, data)
    prepare_instance(lab.home)
    try:
        begin(lab)
    except RegmixError as error:
        lab.say(f"mind: the study cannot run yet: {error}")
    environment = os.environ | {
        "REGMIX_STUDY": str(lab.study_file),
        "REGMIX_HOME": str(lab.home),
        "REGMIX_DATA": str(lab.data),
    }
    # Beside the package in a checkout; what is installed from a wheel has none.
    workspace = Path(regmix_pipeline.__file__).resolve().parents[1] / "workspace.yaml"
    location = ["-w", str(workspace)] if workspace.is_file() else ["-m", "regmix_pipeline.definitions"]
    lab.say(f"http://{host}:{port}")
    command = [sys.executable, "-m", "dagster", "dev", *location, "-h", host, "-p", str(port)]
    raise typer.Exit(subprocess.call(command, env=environment))
