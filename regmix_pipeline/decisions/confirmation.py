"""Confirmation: larger models on the chosen, the natural and the uniform mixture. Did the prediction hold?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import WHOLE, Recipe
from regmix_pipeline.mixtures.anchors import reference_mixtures
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.reuse import drop_altered
from regmix_pipeline.proxies.spec import EVALUATION_CODE, PROXY_FILES, TRAINING_CODE, EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.stage import models_of
from regmix_pipeline.proxies.tasks import evaluation_specs, proxy_seed, proxy_specs, target_files
from regmix_pipeline.proxies.whole import WEIGHTS

CODE_VERSION = f"1-{TRAINING_CODE}-{EVALUATION_CODE}"


def compared_mixtures(lab: Lab) -> dict[str, Mixture]:
    """Name -> mixture: chosen, natural, uniform; the last two as near as the caps allow."""
    prior, limits = prior_and_limits(lab)
    return {"chosen": Mixture.of(lab.json("optimal_mixture")["parts"])} | reference_mixtures(prior, limits)


def _wanted(lab: Lab) -> dict[str, Recipe]:
    inputs = lab.versions("mixture_decision") | lab.versions("token_shards", list(lab.study.sources))
    confirmation = lab.study.confirmation
    settings = {
        "confirmation": confirmation.model_dump(mode="json") if confirmation else None,
        "evaluation": lab.study.proxies.evaluation.model_dump(mode="json"),
        "code": CODE_VERSION,
    }
    return {WHOLE: Recipe(inputs, settings)}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    version = fingerprint("confirmation", recipes[WHOLE].id)
    if lab.study.confirmation is None:
        yield Output(WHOLE, version, {"confirmation": "the study asks for none"})
        return
    mixtures = compared_mixtures(lab)
    specs = confirmation_specs(lab, mixtures)
    # Two names may stand for one mixture, hence for one model.
    models = list({spec.id: spec for group in specs.values() for spec in group}.values())
    weights = _trained(lab, models)
    tasks = evaluation_specs(lab, models, target_files(lab), lab.study.proxies.evaluation)
    rows = _rows(lab, mixtures, specs, tasks)
    path = lab.write_rows("confirmations", version, rows)
    files = [spec.output / name for name in PROXY_FILES for spec in models] + [task.output for task in tasks]
    yield Output(WHOLE, version, _facts(lab, rows), [path, *files], sums=weights)


def confirmation_specs(lab: Lab, mixtures: Mapping[str, Mixture]) -> dict[str, list[ProxySpec]]:
    """Name -> the larger models of each mixture, one per seed."""
    confirmation = lab.study.confirmation
    assert confirmation is not None
    # Other seeds than the proxies', so that nothing of their luck is confirmed with them.
    seeds = [1_000 + proxy_seed(lab, number) for number in range(confirmation.seeds)]
    model, training = confirmation.model_settings, confirmation.training_settings
    of_each = dict.fromkeys(mixtures, seeds)
    return proxy_specs(lab, mixtures, model, training, of_each, "confirmations", trajectory=False)


def _trained(lab: Lab, specs: list[ProxySpec]) -> dict[Path, str]:
    """Train the models; path -> SHA-256 of their weights."""
    from regmix_pipeline.proxies.engine.choose import trainer_of

    lab.say(f"  {models_of(specs)}, on the chosen, the natural and the uniform mixture")
    progress = Progress("confirmation", len(specs), lab.say, what="confirmation models trained")
    drop_altered(lab, specs)
    failed, weights = [], {}
    for result in trainer_of(lab).run(specs):
        if result.error is not None:
            failed.append(result.error)
        else:
            weights[result.task.output / WEIGHTS] = result.value["sha256"]
        progress.advance(note="failed" if result.error is not None else "")
    if failed:
        raise failed[0]
    return weights


def _rows(
    lab: Lab, mixtures: Mapping[str, Mixture], specs: Mapping[str, list[ProxySpec]], tasks: list[EvaluationSpec]
) -> list[dict[str, Any]]:
    from regmix_pipeline.proxies.engine.choose import trainer_of

    decision = lab.need("mixture_decision").version
    predicted = {(row["name"], row["target"]): row["predicted"] for row in lab.json("optimal_mixture")["predictions"]}
    drop_altered(lab, tasks)
    measured: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for result in trainer_of(lab).run(tasks):
        if result.error is not None:
            raise result.error
        measured[result.value["proxy"]][result.value["target"]] = result.value
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
        for target, loss in _losses(lab, measured[spec.id]).items()
    ]


def _losses(lab: Lab, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """One model's loss on every target, and on the objective; targets are independent samples."""
    fields = ("loss", "standard_error", "bits_per_byte")
    losses: dict[str, dict[str, float | None]] = {
        target: {name: measured[target][name] for name in fields} for target in lab.targets
    }
    shares = lab.json("optimal_mixture")["objective"]
    losses["objective"] = {
        "loss": sum(share * measured[target]["loss"] for target, share in shares.items()),
        "standard_error": float(
            np.sqrt(sum((share * measured[target]["standard_error"]) ** 2 for target, share in shares.items()))
        ),
        "bits_per_byte": None,
    }
    return losses


def _facts(lab: Lab, rows: list[dict[str, Any]]) -> dict[str, Any]:
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
    return facts


CONFIRMATION = Stage(
    "confirmation",
    ("mixture_decision", "optimal_mixture", "domain_inventory", "token_shards"),
    None,
    CODE_VERSION,
    _wanted,
    _make,
    folders=("confirmations", "evaluations"),
    kinds=("torch",),
    group="decision",
    description=(
        "Larger models, trained for longer on the chosen, the natural and the uniform mixture: did the prediction hold?"
    ),
)
