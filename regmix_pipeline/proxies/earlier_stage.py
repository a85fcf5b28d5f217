"""Stage of earlier runs: proxies trained in earlier days of the study, read in today's terms and measured again.

Each finished proxy that is not one of today's is read as `mixtures.changes` says; those that stay valid are evaluated
on today's targets and join the regression. Nothing is reused silently: every run found is a row of the ledger, with
what was done to it and the shards it was trained on. Those that are refused are listed under a key of their own, which
nothing is made from: that they are there changes no decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import fingerprint, read_json
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.rows import mixture_rows
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.current import current_specs
from regmix_pipeline.proxies.earlier import EarlierRun, former_domains, runs_besides
from regmix_pipeline.proxies.reuse import drop_altered
from regmix_pipeline.proxies.spec import EVALUATION_CODE, files_of
from regmix_pipeline.proxies.tasks import evaluation_specs, target_files, target_kinds
from regmix_pipeline.proxies.workers.choose import executor_of
from regmix_pipeline.study.coordinates import domain_of

CODE_VERSION = "4"
REFUSED = "refused"
"""Key of the runs that are not evidence."""


def earlier_runs(workspace: Workspace) -> list[EarlierRun]:
    """Every finished proxy that is not one of today's, evidence or not."""
    current = {spec.id for group in current_specs(workspace, current_mixtures(workspace)).values() for spec in group}
    return runs_besides(workspace, current)


def earlier_evidence(workspace: Workspace) -> tuple[dict[str, Mixture], list[str]]:
    """Id -> mixture of the earlier runs that are kept, as recorded, and the former domains that they draw on."""
    content = workspace.json("earlier_runs")
    mixtures = (Mixture.of(run["parts"]) for run in content["runs"])
    return {mixture.id: mixture for mixture in mixtures}, content["former_domains"]


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    if not workspace.study.trains:
        return {}
    runs = earlier_runs(workspace)
    kept, refused = _kept(runs), _refused(runs)
    settings = {
        "runs": fingerprint([[run.spec.id, dict(run.reading.weights)] for run in kept]),
        "windows": workspace.study.proxies.evaluation.windows,
        "code": f"{CODE_VERSION}-{EVALUATION_CODE}",
    } | target_kinds(workspace)
    found = {UNPARTITIONED: Recipe(workspace.versions("token_shards", workspace.targets) if kept else {}, settings)}
    if refused:
        listed = fingerprint([[run.spec.id, dict(run.reading.weights), run.reading.refused] for run in refused])
        found[REFUSED] = Recipe({}, {"runs": listed, "code": CODE_VERSION})
    return found


def _kept(runs: list[EarlierRun]) -> list[EarlierRun]:
    return [run for run in runs if not run.reading.refused]


def _refused(runs: list[EarlierRun]) -> list[EarlierRun]:
    return [run for run in runs if run.reading.refused]


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    runs = earlier_runs(workspace)
    for key, recipe in recipes.items():
        version = fingerprint("earlier runs", recipe.id)
        yield (
            _list_refused(workspace, _refused(runs), version)
            if key == REFUSED
            else _measure(workspace, _kept(runs), version)
        )


def _list_refused(workspace: Workspace, runs: list[EarlierRun], version: str) -> Output:
    workspace.write_rows("earlier_runs", version, [row for run in runs for row in _rows(run)])
    reasons = Counter(run.reading.refused for run in runs)
    return Output(REFUSED, version, {"not kept": dict(sorted(reasons.items()))})


def _measure(workspace: Workspace, runs: list[EarlierRun], version: str) -> Output:
    losses = _measured(workspace, runs)
    domains = workspace.coordinates + former_domains(workspace)
    distinct = {run.mixture.id: run.mixture for run in runs}
    rows = mixture_rows(distinct, domains, dict.fromkeys(distinct, "earlier"))
    workspace.write_rows("mixtures", version, rows)
    workspace.write_rows("earlier_runs", version, [row for run in runs for row in _rows(run)])
    workspace.write_rows("proxy_losses", version, losses)
    path = workspace.write_json(
        {
            "runs": [{"id": run.spec.id, "parts": dict(run.mixture.parts)} for run in runs],
            "former_domains": domains[len(workspace.coordinates) :],
        },
        "earlier",
        f"{version}.json",
    )
    facts = {
        "kept": len(runs),
        "distinct mixtures": len(distinct),
        "former domains": domains[len(workspace.coordinates) :],
        "tokens not trained again": sum(run.spec.training.tokens for run in runs),
    }
    files, sums = _evidence(workspace, runs)
    return Output(UNPARTITIONED, version, facts, [path, *files], sums=sums)


def _evidence(workspace: Workspace, kept: list[EarlierRun]) -> tuple[list[Path], dict[Path, str]]:
    """The files of the runs that are kept and of their evaluations, and the known checksums of weights."""
    specs = [run.spec for run in kept]
    tasks = evaluation_specs(
        workspace, specs, target_files(workspace) if kept else {}, workspace.study.proxies.evaluation
    )
    files = files_of(specs) + [task.output for task in tasks]
    return files, {spec.output / spec.evidence: read_json(spec.output / "proxy.json")["sha256"] for spec in specs}


def _rows(run: EarlierRun) -> list[dict[str, Any]]:
    """One row a domain that the run drew on or that its mixture has today."""
    then, today = dict(run.spec.exact_mixture.parts), run.reading.weights
    executed = read_json(run.spec.output / "proxy.json")["domains"]
    return [
        {
            "proxy": run.spec.id,
            "mixture": None if run.reading.refused else run.mixture.id,
            "seed": run.spec.seed,
            "domain": name,
            "weight_then": then.get(name, 0) / PARTS,
            "weight_now": None if run.reading.refused else today.get(name, 0.0),
            "shard_version": run.spec.shards[domain_of(name)].version if name in then else None,
            "epochs_per_weight": executed[name]["epochs"] / (then[name] / PARTS) if name in then else None,
            "kept": not run.reading.refused,
            "rule": run.reading.refused or "; ".join(run.reading.rules) or "as it is",
        }
        for name in sorted({*then, *today})
    ]


def _measured(workspace: Workspace, runs: list[EarlierRun]) -> list[dict[str, Any]]:
    """Final losses of earlier runs on today's targets, as rows of the ledger."""
    run_of = {run.spec.id: run for run in runs}
    tasks = evaluation_specs(
        workspace,
        [run.spec for run in runs],
        target_files(workspace) if runs else {},
        workspace.study.proxies.evaluation,
    )
    drop_altered(workspace, tasks)
    progress = Progress("earlier_runs", len(tasks), workspace.say)
    rows = []
    place = {task.id: number for number, task in enumerate(tasks)}
    for result in executor_of(workspace).run(tasks):
        if result.error is not None:
            raise ProxyError(
                result.error.problem,
                where=result.error.where,
                remedy="run again: a damaged proxy is set aside and no longer counted",
            )
        progress.advance()
        run = run_of[result.value["proxy"]]
        training = run.spec.training
        steps = training.steps(run.spec.model.context)
        rows.append(
            dict(result.value)
            | {
                "mixture": run.mixture.id,
                "seed": run.spec.seed,
                "step": steps,
                "tokens": steps * training.windows_per_step * run.spec.model.context,
                "final": True,
                "extrapolated": False,
            }
        )
    # Not in the order in which measurements ended: equal losses give equal files.
    rows.sort(key=lambda row: place[row["id"]])
    return [{name: item for name, item in row.items() if name != "id"} for row in rows]


EARLIER_RUNS = Stage(
    "earlier_runs",
    ("mixtures", "token_shards", "finished_proxies"),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("earlier", "evaluations"),
    kinds=("torch",),
    group="proxies",
    description=(
        "Proxies of withdrawn, split or merged domains, measured on today's targets; each with the rule it was kept by."
    ),
)
