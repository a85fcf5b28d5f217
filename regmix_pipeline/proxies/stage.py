"""Stages 5 and 6: the proxies, and their losses."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import ProxyError, RegmixError
from regmix_pipeline.files import fingerprint, read_json
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.numbers import amount
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.current import current_specs, pilot_extrapolation, pilots, trained_specs
from regmix_pipeline.proxies.curves import thinned
from regmix_pipeline.proxies.early_stopping import FinalLossExtrapolation, stopped
from regmix_pipeline.proxies.finished import FINISHED_PROXIES
from regmix_pipeline.proxies.following import following
from regmix_pipeline.proxies.integrity import STEP_COLUMNS, is_step
from regmix_pipeline.proxies.reuse import drop_altered
from regmix_pipeline.proxies.spec import EVALUATION_CODE, TRAINING_CODE, ProxySpec, TargetFile, files_of
from regmix_pipeline.proxies.tasks import evaluation_specs, target_files, target_kinds
from regmix_pipeline.proxies.workers.choose import executor_of
from regmix_pipeline.study.coordinates import domain_of, domains_of
from regmix_pipeline.study.phases import goes_on


def _expected_checkpoints(workspace: Workspace) -> dict[str, Recipe]:
    mixtures = current_mixtures(workspace)
    recipes = {}
    early, first = workspace.study.proxies.early_stopping, set(pilots(workspace))
    earlier = workspace.versions("phase_checkpoints") if mixtures and goes_on(workspace.study) else {}
    for key, specs in current_specs(workspace, mixtures).items():
        drawn = list(domains_of(name for name, _ in mixtures[key].parts))
        settings: dict[str, Any] = {"proxies": [spec.id for spec in specs], "code": TRAINING_CODE}
        if early is not None:
            settings |= {"early_stopping": early.model_dump(mode="json"), "pilot": key in first}
        recipes[key] = Recipe(workspace.versions("token_shards", drawn) | earlier, settings)
    return recipes


def _compute_checkpoints(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    mixtures = {key: mixture for key, mixture in current_mixtures(workspace).items() if key in recipes}
    specs = current_specs(workspace, mixtures)
    _drop_snapshots_besides(workspace)
    early = workspace.study.proxies.early_stopping
    if early is None:
        yield from _trained(workspace, mixtures, specs)
        return
    first = set(pilots(workspace))
    yield from _trained(workspace, mixtures, {key: group for key, group in specs.items() if key in first}, "pilots")
    rest = {key: group for key, group in specs.items() if key not in first}
    line = pilot_extrapolation(workspace)
    if line is None:
        workspace.say("  early stopping       no: not all pilots are finished with their losses measured at the stop")
    else:
        worst = max(line.relative_error[target] for target in workspace.study.objective)
        stops = line.holds_for(list(workspace.study.objective), early.tolerance)
        says = (
            f"{line.pilots} pilots predict final losses to {worst:.0%} of their spread, {early.tolerance:.0%} allowed"
        )
        workspace.say(f"  early stopping       {'yes' if stops else 'no'}: {says}")
        if stops:
            rest = {
                key: [spec if spec.is_finished else stopped(spec, early.at) for spec in group]
                for key, group in rest.items()
            }
    yield from _trained(workspace, mixtures, rest)


def _drop_snapshots_besides(workspace: Workspace) -> None:
    """Delete snapshots and live steps of trainings that the study no longer asks for."""
    early = workspace.study.proxies.early_stopping
    wanted = set()
    for group in current_specs(workspace, current_mixtures(workspace)).values():
        asked = [*group, *(stopped(spec, early.at) for spec in group if early is not None)]
        wanted |= {path for spec in asked for path in (spec.snapshot, spec.live_steps)}
    for pattern in (".p*.snapshot", ".p*.steps.jsonl"):
        for path in workspace.path("proxies").glob(pattern):
            if path not in wanted:
                path.unlink(missing_ok=True)


def _trained(
    workspace: Workspace, mixtures: Mapping[str, Mixture], specs: Mapping[str, Sequence[ProxySpec]], what: str = ""
) -> Iterator[Output]:
    """Train proxies; one output a mixture as the last of its proxies ends."""
    key_of = {spec.id: key for key, group in specs.items() for spec in group}
    waiting = {key: len(group) for key, group in specs.items()}
    failed: dict[str, RegmixError] = {}
    values: dict[str, Mapping[str, Any]] = {}
    tasks = [spec for group in specs.values() for spec in group]
    drop_altered(workspace, tasks)
    there = sum(spec.is_finished for spec in tasks)
    if len(key_of) > there:
        workspace.say(
            f"  {len(specs):,} mixtures, {models_of(tasks)}" + (f", {there:,} of them there already" if there else "")
        )
    progress = Progress(f"proxy_checkpoints {what}".strip(), len(key_of), workspace.say, what="proxies trained")
    with following(workspace, tasks) as trackers:
        for result in executor_of(workspace).run(tasks):
            there -= result.reused
            key = key_of[result.task.id]
            waiting[key] -= 1
            if result.error is not None:
                failed[key] = result.error
            else:
                values[result.task.id] = result.value
                trackers.finished(result.task.output)
            rate = result.value.get("tokens_per_second")
            progress.advance(
                note="failed" if result.error is not None else f"{rate / 1e3:.0f}k tokens/s each" if rate else ""
            )
            if waiting[key]:
                continue
            if key in failed:
                yield Output(key, error=failed[key])
            else:
                made = _checkpoint(workspace, key, mixtures[key], specs[key], [values[spec.id] for spec in specs[key]])
                yield replace(made, followed=there > 0)


def checkpoint_version(key: str, specs: Sequence[ProxySpec]) -> str:
    """Version of a mixture's checkpoints: known before they are trained."""
    return fingerprint("checkpoints", key, [spec.id for spec in specs])


def models_of(specs: Sequence[ProxySpec]) -> str:
    """Like models in words: how many, of how many parameters, on how many tokens."""
    first = specs[0]
    steps = first.training.steps(first.model.context)
    tokens = steps * first.training.windows_per_step * first.model.context
    if first.trainer is not None:
        return (
            f"{len(specs):,} runs of `{first.trainer.settings.command}` on {amount(first.training.tokens)} tokens each"
        )
    parameters = amount(first.model.parameters(first.vocabulary))
    return f"{len(specs):,} models of {parameters} parameters on {amount(tokens)} tokens each"


def _checkpoint(
    workspace: Workspace, key: str, mixture: Mixture, specs: Sequence[ProxySpec], values: Sequence[Mapping[str, Any]]
) -> Output:
    version = checkpoint_version(key, specs)
    parts, names = dict(mixture.parts), workspace.renamed
    rows = [
        {
            "proxy": value["id"],
            "mixture": key,
            "seed": value["seed"],
            "domain": domain,
            "shard_version": spec.shards[domain_of(trained_as)].version,
            "weight": parts[domain] / PARTS,
            "executed_tokens": used["tokens"],
            "executed_weight": used["tokens"] / value["tokens"],
            "epochs": used["epochs"],
        }
        for spec, value in zip(specs, values, strict=True)
        for trained_as, used in value["domains"].items()
        if (domain := trained_as if trained_as in parts else names.get(trained_as, trained_as)) in parts
    ]
    workspace.write_rows("proxies", version, rows)
    facts = {
        "proxies": [spec.id for spec in specs],
        "tokens": sum(value["tokens"] for value in values),
        **_means(values),
        "weights": mixture.weights,
        "highest epochs": max(row["epochs"] for row in rows),
    }
    if any(spec.stop_at for spec in specs):
        facts["stopped after steps"] = max(value["steps"] for value in values)
    files = files_of(specs)
    weights = {spec.output / spec.evidence: value["sha256"] for spec, value in zip(specs, values, strict=True)}
    return Output(key, version, facts, files, sum(value["seconds"]["total"] for value in values), weights)


def _means(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Facts about a mixture's models; of a command's, what it reports."""
    found: dict[str, Any] = {}
    if values[0]["parameters"] is not None:
        found["parameters"] = values[0]["parameters"]
    for fact, name in (("training loss", "training_loss"), ("tokens per second", "tokens_per_second")):
        known = [value[name] for value in values if value[name] is not None]
        if known:
            found[fact] = sum(known) / len(known)
    return found


def _expected_losses(workspace: Workspace) -> dict[str, Recipe]:
    # Trajectories belong to the proxies' training; only the final windows can be measured again.
    settings = {"windows": workspace.study.proxies.evaluation.windows, "code": EVALUATION_CODE} | target_kinds(
        workspace
    )
    mixtures = current_mixtures(workspace)
    targets = workspace.versions("token_shards", workspace.targets) if mixtures else {}
    recipes, first = {}, pilots(workspace)
    for key, specs in trained_specs(workspace, mixtures).items():
        # What a stopped proxy's losses would have become is known from the pilots alone.
        needed = [key, *(first if any(spec.stop_at for spec in specs) else [])]
        recipes[key] = Recipe(workspace.versions("proxy_checkpoints", needed) | targets, settings)
    return recipes


def _compute_losses(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    mixtures = {key: mixture for key, mixture in current_mixtures(workspace).items() if key in recipes}
    specs = trained_specs(workspace, mixtures)
    targets = target_files(workspace)
    line = pilot_extrapolation(workspace) if any(spec.stop_at for group in specs.values() for spec in group) else None
    key_of = {spec.id: key for key, group in specs.items() for spec in group}
    trained = [spec for group in specs.values() for spec in group]
    tasks = evaluation_specs(workspace, trained, targets, workspace.study.proxies.evaluation)
    proxy_of = {task.id: task.proxy.name for task in tasks}
    waiting = {key: len(group) * len(targets) for key, group in specs.items()}
    measured: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    failed: dict[str, RegmixError] = {}
    started = time.monotonic()
    drop_altered(workspace, tasks)
    there = sum(task.output.is_file() for task in tasks)
    progress = Progress("proxy_losses", len(tasks), workspace.say, what="losses measured")
    for result in executor_of(workspace).run(tasks):
        there -= result.reused
        key = key_of[proxy_of[result.task.id]]
        waiting[key] -= 1
        if result.error is not None:
            failed[key] = result.error
        else:
            measured[key].append(result.value)
        progress.advance()
        if waiting[key]:
            continue
        if line is None and any(spec.stop_at for spec in specs[key]):
            failed[key] = ProxyError(
                "a stopped proxy's final loss cannot be extrapolated: not all pilots were kept where it stopped",
                where=f"mixture {key}",
                remedy="turn proxies.early_stopping off to train it to its end",
            )
        if key in failed:
            yield Output(key, error=failed[key])
        else:
            seconds = time.monotonic() - started
            made = _losses(workspace, key, specs[key], measured[key], targets, recipes[key], line, seconds)
            yield replace(made, followed=there > 0)
            started = time.monotonic()


def losses_version(key: str, recipe: Recipe) -> str:
    """Version of a mixture's losses: known before they are measured."""
    return fingerprint("losses", recipe.id, key)


def _losses(
    workspace: Workspace,
    key: str,
    specs: Sequence[ProxySpec],
    measured: Sequence[Mapping[str, Any]],
    targets: Mapping[str, TargetFile],
    recipe: Recipe,
    line: FinalLossExtrapolation | None,
    seconds: float,
) -> Output:
    version, record = losses_version(key, recipe), workspace.need("proxy_checkpoints", key)
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    names = workspace.renamed
    # In the targets' order, not in that in which measurements ended: equal losses give equal files.
    order = list(targets)
    measured = sorted(measured, key=lambda found: order.index(found["target"]))
    for spec in specs:
        trained, trajectory = (
            workspace.unaltered(record, workspace.name_of(spec.output / name))
            for name in ("proxy.json", "trajectory.parquet")
        )
        value = read_json(trained)
        common = {"proxy": spec.id, "mixture": key, "seed": spec.seed}
        found_on_the_way = pq.read_table(trajectory).to_pylist()
        curves += [common | point for point in thinned([row for row in found_on_the_way if is_step(row)])]
        rows += [
            common | _without_step(row) | {"target": target, "final": False, "extrapolated": False}
            for row in found_on_the_way
            # A target whose text has changed since the proxy was trained has no trajectory on its new text.
            if not is_step(row)
            and (target := row["target"] if row["target"] in targets else names.get(row["target"], "")) in targets
            and row["target_version"] == targets[target].measure_version
        ]
        for found in measured:
            if found["proxy"] == spec.id:
                loss = {name: item for name, item in found.items() if name not in ("id", "proxy")}
                rows.append(common | loss | _ending(spec, value, loss, line))
    if not any(row["final"] for row in rows):
        raise ProxyError("no loss was measured", where=key, remedy="run again")
    path = workspace.write_rows("proxy_losses", version, rows)
    workspace.write_rows("training_curves", version, curves)
    final = [row for row in rows if row["final"]]
    losses = {
        target: sum(row["loss"] for row in final if row["target"] == target) / len(specs)
        for target in workspace.targets
    }
    facts = {
        "objective (nats/token)": sum(share * losses[target] for target, share in workspace.study.objective.items()),
        "losses (nats/token)": losses,
        "measurements": len(rows),
    }
    if answered := [row for row in final if row.get("accuracy") is not None]:
        facts["accuracy"] = {
            target: sum(row["accuracy"] for row in answered if row["target"] == target) / len(specs)
            for target in dict.fromkeys(row["target"] for row in answered)
        }
    evaluations = evaluation_specs(workspace, specs, targets, workspace.study.proxies.evaluation)
    return Output(key, version, facts, [path, *(task.output for task in evaluations)], seconds)


def _without_step(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in STEP_COLUMNS}


def _ending(
    spec: ProxySpec, proxy: Mapping[str, Any], loss: Mapping[str, Any], line: FinalLossExtrapolation | None
) -> dict[str, Any]:
    """What the final row says beside the loss measured: of a stopped proxy, the loss that the pilots predict."""
    if spec.stop_at is None:
        return {"step": proxy["steps"], "tokens": proxy["tokens"], "final": True, "extrapolated": False}
    assert line is not None, "checked before"
    final, error = line.final(loss["target"], loss["loss"])
    unit = loss["bits_per_byte"] / loss["loss"]
    steps = spec.training.steps(spec.model.context)
    return {
        "step": steps,
        "tokens": steps * spec.training.windows_per_step * spec.model.context,
        "loss": final,
        "standard_error": math.hypot(loss["standard_error"], error),
        "bits_per_byte": final * unit,
        "bits_per_byte_standard_error": math.hypot(loss["standard_error"], error) * unit,
        # Of the answers of a proxy that was stopped nothing is known at its end.
        "accuracy": None,
        "accuracy_standard_error": None,
        "final": True,
        "extrapolated": True,
    }


PROXY_CHECKPOINTS = Stage(
    "proxy_checkpoints",
    ("mixtures", "token_shards", "phase_checkpoints", "finished_proxies"),
    "mixture",
    TRAINING_CODE,
    _expected_checkpoints,
    _compute_checkpoints,
    folders=("proxies", "evaluations"),
    observers=(FINISHED_PROXIES,),
    output_folder="proxies",
    kinds=("torch",),
    group="proxies",
    description="Small models trained on a mixture, one per seed, and the tokens they drew from each domain.",
)
PROXY_LOSSES = Stage(
    "proxy_losses",
    ("mixtures", "proxy_checkpoints", "token_shards", "finished_proxies"),
    "mixture",
    EVALUATION_CODE,
    _expected_losses,
    _compute_losses,
    folders=("evaluations",),
    output_folder="evaluations",
    kinds=("torch", "duckdb"),
    group="proxies",
    description="Every target's loss with its standard error, at the end of training and along the way.",
)
