"""Stage 8, optimal mixture: the best point under the limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.anchors import reference_weights
from regmix_pipeline.mixtures.limits import ROUNDED, Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.numbers import amount
from regmix_pipeline.regression.signal import weighed_objective
from regmix_pipeline.regression.stage import unexplained_loss
from regmix_pipeline.study.coordinates import domain_of, over_phases
from regmix_pipeline.study.phases import epochs_before, phase_parts

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor

CODE_VERSION = "13"


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    settings = {
        "search": workspace.study.search.recipe(),
        "objective": workspace.study.objective,
        "downweight": workspace.study.proxies.noise.downweight,
        "seed": workspace.study.seed,
        "code": CODE_VERSION,
    }
    if workspace.study.proxies.noise.weight_by_signal:
        settings["weight_by_signal"] = True
    if phases := phase_parts(workspace.study):
        settings["phases"] = list(phases.items())
    return {UNPARTITIONED: Recipe(workspace.versions("regressor") | workspace.versions("domain_inventory"), settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.regression.fitted import FittedRegressor
    from regmix_pipeline.regression.other_sizes import flags_of_other_sizes
    from regmix_pipeline.search.best import asked, search
    from regmix_pipeline.search.shadow_prices import shadow_prices

    folder = workspace.artefact("regressor", suffix="regressor.json").parent
    fitted = FittedRegressor.load(folder)
    prior, limits = with_former_domains(*prior_and_limits(workspace), fitted.domains)
    noise = workspace.json("regressor", "noise.json")
    objective, noisy = weighed_objective(workspace.study.objective, noise, workspace.study.proxies.noise)
    settings = workspace.study.search
    answer = search(fitted, prior, limits, objective, settings, workspace.study.seed, workspace.say)
    found = answer.as_json()
    found["objective"] = objective
    if (moved := _at_target(workspace, fitted, folder, prior, limits, found)) is not None:
        found["size"] = moved
        found["flags"] += [moved["note"]] if not moved["used"] else []
    unexplained = workspace.json("regressor", suffix="outliers.json")
    found["flags"] += flags_of_other_sizes(fitted.scores, objective)
    found["flags"] += [*noisy, *(unexplained_loss(each, workspace.study.regression) for each in unexplained)]
    available = {row["source"]: row["available_tokens"] for row in workspace.json("domain_inventory")["sources"]}
    before = epochs_before(workspace.study, available)
    found["shadow_prices"] = shadow_prices(
        *asked(fitted, prior, limits, objective, settings),
        answer.mixture.vector(fitted.domains),
        _rates(workspace, available),
        before=before,
    )
    drawn = over_phases({row["domain"]: row["weight"] for row in found["domains"]})
    found["domains"] = [
        row | _repetition(workspace, domain, drawn[domain], available[domain], before)
        for row in found["domains"]
        if (domain := domain_of(row["domain"])) in available
    ]
    version = fingerprint("optimal mixture", recipes[UNPARTITIONED].id)
    path = workspace.write_json(found, "optima", f"{version}.json")
    columns = ("domain", "weight", "prior", "cap", "floor", "epochs")
    workspace.write_rows(
        "optimal_mixture",
        version,
        [{"mixture": found["mixture"]} | {name: row[name] for name in columns} for row in found["domains"]],
    )
    workspace.write_rows("predictions", version, found["predictions"])
    weights = sorted(found["domains"], key=lambda row: -row["weight"])
    facts: dict[str, Any] = {
        "mixture": found["mixture"],
        "weights": {row["domain"]: row["weight"] for row in weights},
        "at their cap": [row["domain"] for row in weights if row["at_cap"]],
        "predicted gain (nats/token)": found["gain"]["predicted"],
        "predicted gain by the pure law (nats/token)": _gain_by_law(found["predictions"]),
        "chance better than natural": found["gain"]["chance_better_than_natural"],
        "search": found["search"],
    }
    if found["shadow_prices"]:
        facts["worth of a point more of each cap (nats/token)"] = {
            row["limit"]: row["price_per_point"] for row in found["shadow_prices"]
        }
    if found.get("guardrails"):
        facts["guardrails (slack in nats/token)"] = {row["target"]: row["slack"] for row in found["guardrails"]}
        facts["guardrails that hold the mixture back"] = [row["target"] for row in found["guardrails"] if row["active"]]
    if "size" in found:
        facts["size"] = found["size"]["note"]
        facts["chance better at the target's size"] = {row["rival"]: row["chance"] for row in found["size"]["chances"]}
    yield Output(UNPARTITIONED, version, facts, [path])


def _at_target(
    workspace: Workspace,
    fitted: FittedRegressor,
    folder: Path,
    prior: NDArray[np.float64],
    limits: Limits,
    found: Mapping[str, Any],
) -> dict[str, Any] | None:
    """What slopes of size say beside the answer, JSON-able; None where the study has no runs of a second size."""
    from regmix_pipeline.regression.at_target import BASE, AtTarget
    from regmix_pipeline.regression.fitted import FittedRegressor
    from regmix_pipeline.search.region import Region, rounded_inside
    from regmix_pipeline.search.size_path import size_path
    from regmix_pipeline.search.survival import runner_up, survival

    at_target = AtTarget.load(folder)
    if at_target is None:
        return None
    base = FittedRegressor.load(folder / BASE) if at_target.used else fitted
    region = Region.of(limits, prior, fitted.weights, workspace.study.search)
    chosen = Mixture.of(found["parts"]).vector(fitted.domains)
    centres = np.array([chosen, *base.weights[np.argsort(base.losses @ base.shares(found["objective"]))[:3]]])
    target = at_target.target
    natural = rounded_inside(reference_weights(prior, limits)["natural"], limits).vector(fitted.domains)
    second = runner_up(fitted, chosen, found["objective"], limits.allow(fitted.weights, ROUNDED))
    chances = survival(
        base,
        at_target.law,
        target,
        chosen,
        {"natural": natural, "runner-up": second},
        found["objective"],
        seed=workspace.study.seed,
    )
    scores = at_target.rows()
    note = (
        f"predictions are for {amount(target.parameters)} parameters, by the {at_target.law.used} of "
        f"{len(at_target.sizes)} sizes"
        if at_target.used
        else f"larger proxies do not confirm slopes of size (probability {at_target.law.sure:.2f} that they differ): "
        "predictions are for the proxies' size"
    )
    return {
        "used": at_target.used,
        "law": at_target.law.used,
        "sure": at_target.law.sure,
        "note": note,
        "target": {"parameters": target.parameters, "tokens": target.tokens},
        "scores": scores,
        "spread": dict(zip(base.targets, at_target.law.scale(target).tolist(), strict=True)),
        "chances": chances,
        "runner_up": dict(zip(fitted.domains, second.tolist(), strict=True)),
        "path": size_path(base, at_target, region, found["objective"], centres, workspace.study.seed)
        if at_target.used
        else [],
    }


def with_former_domains(
    prior: NDArray[np.float64], limits: Limits, domains: Sequence[str]
) -> tuple[NDArray[np.float64], Limits]:
    """Prior and limits over the regressor's ``domains``: of those the study no longer has, no mixture may hold any."""
    former = len(domains) - len(limits.domains)
    if not former:
        return prior, limits
    nothing = np.zeros(former)
    return np.r_[prior, nothing], Limits(tuple(domains), np.r_[limits.caps, nothing], np.r_[limits.floors, nothing])


def _gain_by_law(predictions: Sequence[Mapping[str, Any]]) -> float | None:
    found = {row["name"]: row["predicted_by_law"] for row in predictions if row["target"] == "objective"}
    return None if found["natural"] is None else found["natural"] - found["chosen"]


def _rates(workspace: Workspace, available: Mapping[str, int | None]) -> dict[str, float]:
    """Domain -> epochs of it in the large run at weight 1, where both are known."""
    target = workspace.study.limits.target_tokens
    return {} if target is None else {name: target / tokens for name, tokens in available.items() if tokens}


def _repetition(
    workspace: Workspace, domain: str, weight: float, available: int | None, before: Mapping[str, float]
) -> dict[str, Any]:
    """How much of a domain there is, and how often the large run would see it, in all its phases together."""
    target, seen = workspace.study.limits.target_tokens, before.get(domain, 0.0)
    epochs = None if target is None or available is None else seen + weight * target / available
    found = {"available_tokens": available, "epochs": epochs}
    return found | ({"epochs_before": seen} if workspace.study.phases else {})


OPTIMAL_MIXTURE = Stage(
    "optimal_mixture",
    ("regressor", "domain_inventory"),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("optima",),
    kinds=("scipy", "duckdb"),
    group="decision",
    description="The mixture with the lowest predicted objective under caps and floors.",
)
