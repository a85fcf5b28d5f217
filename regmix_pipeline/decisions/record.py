"""The decision record: what was chosen, from which versions of everything, beside which alternatives."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import regmix_pipeline
from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger import audit
from regmix_pipeline.ledger.build import read_ledger
from regmix_pipeline.ledger.records import WHOLE, now
from regmix_pipeline.mixtures.mixture import Mixture

LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch", "tokenizers", "datatrove", "dagster", "duckdb")


def lineage_of(lab: Lab, asset: str) -> dict[str, str]:
    """``asset/key`` -> version of an asset's current record and of everything it was made from, however far back."""
    found: dict[str, str] = {}
    waiting = [(asset, WHOLE)]
    while waiting:
        name, key = waiting.pop()
        place = f"{name}/{key}"
        if place in found:
            continue
        record = lab.need(name, key)
        found[place] = record.version
        waiting.extend(tuple(upstream.split("/", 1)) for upstream in record.inputs)  # type: ignore[misc]
    return dict(sorted(found.items()))


def decision_record(lab: Lab) -> dict[str, Any]:
    """The decision that the current optimal mixture leads to, JSON-able.

    Its id is the hash of what was decided and of every upstream version: deciding again from the same evidence is the
    same decision, whenever it is taken.
    """
    optimum = lab.json("optimal_mixture")
    versions = lineage_of(lab, "optimal_mixture")
    limits = lab.study.limits.model_dump(mode="json")
    identity = [optimum["mixture"], versions, limits, lab.study.objective, regmix_pipeline.__version__]
    checks = _checks(lab)
    record = {
        "decision": "d" + fingerprint("decision", identity),
        "study": lab.study.name,
        "description": lab.study.description,
        "decided_at": now(),
        "mixture": {"id": optimum["mixture"], "weights": Mixture.of(optimum["parts"]).weights},
        "objective": lab.study.objective,
        "limits": limits,
        "domains": optimum["domains"],
        "predictions": optimum["predictions"],
        "gain": optimum["gain"],
        "regressors": lab.json("regressor", "scores.json")["chosen"],
        "search": optimum["search"],
        "checks": checks,
        "flags": [check["description"] for check in checks if not check["passed"]] + optimum.get("flags", []),
        "versions": versions,
        "code": {
            "package": regmix_pipeline.__version__,
            "python": platform.python_version(),
            "libraries": {name: metadata.version(name) for name in LIBRARIES},
        },
        "run": lab.run,
    }
    record["summary"] = summary_of(record)
    return record


def summary_of(record: Mapping[str, Any]) -> str:
    """The decision in a sentence: the heaviest domains, the predicted gain, the chance that it is one."""
    weights = sorted(record["mixture"]["weights"].items(), key=lambda item: -item[1])
    heaviest = ", ".join(f"{weight:.0%} {domain}" for domain, weight in weights[:3])
    gain, chance = record["gain"]["predicted"], record["gain"].get("chance_better_than_natural")
    side = "below" if gain >= 0 else "above"
    certainty = f", better with probability {chance:.0%}" if chance is not None else ""
    return (
        f"Train on {heaviest} and {max(len(weights) - 3, 0)} more: predicted {abs(gain):.3f} nats per token {side} the "
        f"natural mixture on {' + '.join(record['objective'])}{certainty}."
    )


def _checks(lab: Lab) -> list[dict[str, Any]]:
    """What holds of the evidence, asked of the ledger at the time of the decision."""
    with read_ledger(lab.ledger) as connection:
        findings = {
            "optimum within limits": audit.optimum_within_limits(connection),
            "rank correlation out of fold": audit.rank_correlation(
                connection, list(lab.study.objective), lab.study.rank_correlation_floor
            ),
            "inside the sampled region": audit.inside_sampled_region(connection),
            "losses complete": audit.losses_complete(connection, lab.targets),
        }
    return [
        {"check": name, "passed": finding.passed, "description": finding.description}
        for name, finding in findings.items()
    ]
