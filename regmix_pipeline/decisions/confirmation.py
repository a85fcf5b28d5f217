"""Confirmation: larger models on the chosen, the natural and the uniform mixture. Did the prediction hold?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.decisions.guardrails import measured_guardrails, measured_in_words
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.anchors import reference_mixtures
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.proxies.larger import train_larger, with_starts
from regmix_pipeline.proxies.spec import EVALUATION_CODE, TRAINING_CODE, EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.stage import models_of
from regmix_pipeline.proxies.tasks import PHASES, evaluation_specs, proxy_seed, proxy_specs, target_files

CODE_VERSION = f"1-{TRAINING_CODE}-{EVALUATION_CODE}"


def compared_mixtures(workspace: Workspace) -> dict[str, Mixture]:
    """Name -> mixture: chosen, natural, uniform; the last two as near as the caps allow."""
    prior, limits = prior_and_limits(workspace)
    return {"chosen": Mixture.of(workspace.json("optimal_mixture")["parts"])} | reference_mixtures(prior, limits)


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    inputs = workspace.versions("mixture_decision") | workspace.versions("token_shards", list(workspace.study.sources))
    confirmation = workspace.study.confirmation
    settings = {
        "confirmation": confirmation.model_dump(mode="json") if confirmation else None,
        "evaluation": workspace.study.proxies.evaluation.recipe(),
        "code": CODE_VERSION,
    }
    return {UNPARTITIONED: Recipe(inputs, settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    version = fingerprint("confirmation", recipes[UNPARTITIONED].id)
    if workspace.study.confirmation is None:
        yield Output(UNPARTITIONED, version, {"confirmation": "the study asks for none"})
        return
    mixtures = compared_mixtures(workspace)
    specs = confirmation_specs(workspace, mixtures)
    # Two names may represent one mixture, hence for one model.
    models = list({spec.id: spec for group in specs.values() for spec in group}.values())
    weights = _trained(workspace, models)
    tasks = evaluation_specs(workspace, models, target_files(workspace), workspace.study.proxies.evaluation)
    rows = _rows(workspace, mixtures, specs, tasks)
    path = workspace.write_rows("confirmations", version, rows)
    files = with_starts(models) + [task.output for task in tasks]
    yield Output(UNPARTITIONED, version, _facts(workspace, rows), [path, *files], sums=weights)


def confirmation_specs(workspace: Workspace, mixtures: Mapping[str, Mixture]) -> dict[str, list[ProxySpec]]:
    """Name -> the larger models of each mixture, one per seed."""
    confirmation = workspace.study.confirmation
    assert confirmation is not None
    # Other seeds than the proxies', so that nothing of their luck is confirmed with them.
    seeds = [1_000 + proxy_seed(workspace, number) for number in range(confirmation.seeds)]
    model, training = confirmation.model_settings, confirmation.training_settings
    of_each = dict.fromkeys(mixtures, seeds)
    return proxy_specs(workspace, mixtures, model, training, of_each, "confirmations", trajectory=False)


def _trained(workspace: Workspace, specs: list[ProxySpec]) -> dict[Path, str]:
    """Train the models; path -> SHA-256 of their weights."""
    workspace.say(f"  {models_of(specs)}, on the chosen, the natural and the uniform mixture")
    return train_larger(workspace, specs, "confirmation", "confirmation models trained")


def _rows(
    workspace: Workspace,
    mixtures: Mapping[str, Mixture],
    specs: Mapping[str, list[ProxySpec]],
    tasks: list[EvaluationSpec],
) -> list[dict[str, Any]]:
    from regmix_pipeline.proxies.larger import measure_larger

    decision = workspace.need("mixture_decision").version
    predicted = {
        (row["name"], row["target"]): row["predicted"] for row in workspace.json("optimal_mixture")["predictions"]
    }
    measured = measure_larger(workspace, tasks)
    return [
        {
            "decision": decision,
            "name": name,
            "mixture": mixtures[name].id,
            "model": spec.id,
            "seed": spec.seed,
            "target": target,
            **loss,
            "predicted": predicted.get((name, target)),
        }
        for name, group in specs.items()
        for spec in group
        for target, loss in _losses(workspace, measured[spec.id]).items()
    ]


def _losses(workspace: Workspace, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """One model's loss on every target, and on the objective; targets are independent samples."""
    fields = ("loss", "standard_error", "bits_per_byte", "accuracy", "accuracy_standard_error")
    losses: dict[str, dict[str, float | None]] = {
        target: {name: measured[target][name] for name in fields if name in measured[target]}
        for target in workspace.targets
    }
    shares = workspace.json("optimal_mixture")["objective"]
    losses["objective"] = {
        "loss": sum(share * measured[target]["loss"] for target, share in shares.items()),
        "standard_error": float(
            np.sqrt(sum((share * measured[target]["standard_error"]) ** 2 for target, share in shares.items()))
        ),
        "bits_per_byte": None,
    }
    return losses


def _facts(workspace: Workspace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    losses: dict[str, list[float]] = {}
    for row in rows:
        if row["target"] == "objective":
            losses.setdefault(row["name"], []).append(row["loss"])
    means = {name: float(np.mean(values)) for name, values in losses.items()}
    gains = np.array(losses["natural"]) - np.array(losses["chosen"])
    facts: dict[str, Any] = {
        "best": min(means, key=lambda name: means[name]),
        "objective (nats/token)": means,
        "gain over natural (nats/token)": float(gains.mean()),
    }
    if len(gains) > 1:
        # Seeds are paired: the same one starts all mixtures from the same weights.
        facts["standard error of the gain over seeds"] = float(gains.std(ddof=1) / np.sqrt(len(gains)))
        facts["held for every seed"] = bool((gains > 0).all())
    guardrails = workspace.json("optimal_mixture").get("guardrails", [])
    measured = measured_guardrails(guardrails, ((row["name"], row["seed"], row["target"], row["loss"]) for row in rows))
    return facts | ({"guardrails": {row["target"]: measured_in_words(row) for row in measured}} if measured else {})


CONFIRMATION = Stage(
    "confirmation",
    ("mixture_decision", "optimal_mixture", "domain_inventory", "token_shards"),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("confirmations", PHASES, "evaluations"),
    kinds=("torch",),
    group="decision",
    description=(
        "Larger models, trained for longer on the chosen, the natural and the uniform mixture: did the prediction hold?"
    ),
)
