"""Stage 8, optimal mixture: the best point under the limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import WHOLE, Recipe
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.regression.signal import weighed_objective

CODE_VERSION = "5"


def _wanted(lab: Lab) -> dict[str, Recipe]:
    settings = {
        "search": lab.study.search.model_dump(mode="json"),
        "objective": lab.study.objective,
        "downweight": lab.study.proxies.noise.downweight,
        "seed": lab.study.seed,
        "code": CODE_VERSION,
    }
    return {WHOLE: Recipe(lab.versions("regressor") | lab.versions("domain_inventory"), settings)}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.regression.fitted import FittedRegressor
    from regmix_pipeline.search.best import search

    fitted = FittedRegressor.load(lab.artefact("regressor", suffix="regressor.json").parent)
    prior, limits = with_former_domains(*prior_and_limits(lab), fitted.domains)
    noise = lab.json("regressor", "noise.json")
    objective, noisy = weighed_objective(lab.study.objective, noise, lab.study.proxies.noise)
    found = search(fitted, prior, limits, objective, lab.study.search, lab.study.seed, lab.say).as_json()
    found["objective"] = objective
    found["flags"] += noisy
    available = {row["source"]: row["available_tokens"] for row in lab.json("domain_inventory")["sources"]}
    found["domains"] = [
        row | _repetition(lab, row, available[row["domain"]]) for row in found["domains"] if row["domain"] in available
    ]
    version = fingerprint("optimal mixture", recipes[WHOLE].id)
    path = lab.write_json(found, "optima", f"{version}.json")
    columns = ("domain", "weight", "prior", "cap", "floor", "epochs")
    lab.write_rows(
        "optimal_mixture",
        version,
        [{"mixture": found["mixture"]} | {name: row[name] for name in columns} for row in found["domains"]],
    )
    lab.write_rows("predictions", version, found["predictions"])
    weights = sorted(found["domains"], key=lambda row: -row["weight"])
    facts = {
        "mixture": found["mixture"],
        "weights": {row["domain"]: row["weight"] for row in weights},
        "at their cap": [row["domain"] for row in weights if row["at_cap"]],
        "predicted gain (nats/token)": found["gain"]["predicted"],
        "predicted gain by the pure law (nats/token)": _gain_by_law(found["predictions"]),
        "chance better than natural": found["gain"]["chance_better_than_natural"],
        "search": found["search"],
    }
    yield Output(WHOLE, version, facts, [path])


def with_former_domains(
    prior: NDArray[np.float64], limits: Limits, domains: Sequence[str]
) -> tuple[NDArray[np.float64], Limits]:
    """Prior and limits over the regressor's ``domains``: of those the study no longer has, no mixture may hold any."""
    former = len(domains) - len(limits.domains)
    nothing = np.zeros(former)
    return np.r_[prior, nothing], Limits(tuple(domains), np.r_[limits.caps, nothing], np.r_[limits.floors, nothing])


def _gain_by_law(predictions: Sequence[Mapping[str, Any]]) -> float | None:
    found = {row["name"]: row["predicted_by_law"] for row in predictions if row["target"] == "objective"}
    return None if found["natural"] is None else found["natural"] - found["chosen"]


def _repetition(lab: Lab, row: Mapping[str, Any], available: int | None) -> dict[str, Any]:
    """How much of a domain there is, and how often the large run would see it."""
    target = lab.study.limits.target_tokens
    epochs = None if target is None or available is None else row["weight"] * target / available
    return {"available_tokens": available, "epochs": epochs}


OPTIMAL_MIXTURE = Stage(
    "optimal_mixture",
    ("regressor", "domain_inventory"),
    None,
    CODE_VERSION,
    _wanted,
    _make,
    folders=("optima",),
    kinds=("scipy", "duckdb"),
    group="decision",
    description="The mixture with the lowest predicted objective under caps and floors.",
)
