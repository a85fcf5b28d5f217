"""The decision record: what was chosen, from which versions of everything, beside which alternatives."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import regmix_pipeline
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger import audit
from regmix_pipeline.ledger.build import read_ledger
from regmix_pipeline.ledger.records import WHOLE, now
from regmix_pipeline.mixtures.mixture import Mixture

CODE_VERSION = "2"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch", "tokenizers", "datatrove", "dagster", "duckdb")


def lineage_of(lab: Lab, asset: str) -> dict[str, str]:
    """``asset/key`` -> version of an asset's current record and of everything it was made from, however far back.

    Inputs are followed by the versions their records name, which need not be the current ones. Where two versions of
    one thing took part, the further ones are listed as ``asset/key@version``.

    Raises:
        LedgerError: the asset was not made, or a record it names is gone.
    """
    found: dict[str, str] = {}
    waiting = [(asset, WHOLE, lab.need(asset).version)]
    while waiting:
        name, key, version = waiting.pop()
        place = f"{name}/{key}"
        if version in (found.get(place), found.get(f"{place}@{version}")):
            continue
        found[place if place not in found else f"{place}@{version}"] = version
        record = lab.records.version(name, key, version)
        if record is None:
            raise LedgerError(f"no record of version {version}", where=place, remedy="materialise it again")
        waiting += [(*upstream.split("/", 1), made_from) for upstream, made_from in record.inputs.items()]  # type: ignore[misc]
    return dict(sorted(found.items()))


def decision_record(lab: Lab) -> dict[str, Any]:
    """The decision that the current optimal mixture leads to, JSON-able.

    Its id is the hash of what was asked, what was decided, what the checks found and every upstream version: deciding
    again from the same evidence is the same decision, whenever it is taken.
    """
    optimum = lab.json("optimal_mixture")
    versions = versions_behind(lab)
    limits = lab.study.limits.model_dump(mode="json")
    checks = _checks(lab)
    question = [lab.study.name, lab.study.description, lab.study.objective, lab.study.rank_correlation_floor]
    identity = [optimum["mixture"], versions, limits, question, checks, CODE_VERSION, regmix_pipeline.__version__]
    record = {
        "decision": "d" + fingerprint("decision", identity),
        "study": lab.study.name,
        "description": lab.study.description,
        "decided_at": now(),
        "mixture": {"id": optimum["mixture"], "weights": Mixture.of(optimum["parts"]).weights},
        "objective": optimum["objective"],
        "objective_asked": lab.study.objective,
        "limits": limits,
        "domains": optimum["domains"],
        "predictions": optimum["predictions"],
        "gain": optimum["gain"],
        "stability": _stability(lab),
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


def versions_behind(lab: Lab) -> dict[str, str]:
    """``asset/key`` -> version of everything that a decision rests on."""
    versions = lineage_of(lab, "optimal_mixture")
    return versions | (lab.versions("further_mixtures") if lab.study.trains else {})


def _stability(lab: Lab) -> dict[str, Any] | None:
    """Expected regret and gain, nats per token, and whether the first is small; None for imported runs alone."""
    if not lab.study.trains:
        return None
    found = lab.json("further_mixtures")
    return {name: found[name] for name in ("stable", "expected_regret", "expected_gain")}


def summary_of(record: Mapping[str, Any]) -> str:
    """The decision in a sentence: the heaviest domains, the predicted gain, the chance that it is one."""
    weights = sorted(record["mixture"]["weights"].items(), key=lambda item: -item[1])
    heaviest = ", ".join(f"{weight:.0%} {domain}" for domain, weight in weights[:3])
    if len(weights) > 3:
        heaviest += f" and {len(weights) - 3} more"
    gain = record["gain"]
    side = "below" if gain["predicted"] >= 0 else "above"
    reach = f" (90% interval {gain['low']:+.3f} to {gain['high']:+.3f})" if "low" in gain else ""
    return (
        f"Train on {heaviest}: predicted {abs(gain['predicted']):.3f} nats per "
        f"token {side} the natural mixture on {' + '.join(record['objective'])}{reach}, better with probability "
        f"{_chance(gain['chance_better_than_natural'])}."
    )


def _chance(chance: float) -> str:
    """A probability in words that never claim certainty."""
    return "above 99%" if chance > 0.99 else "below 1%" if chance < 0.01 else f"{chance:.0%}"


def _checks(lab: Lab) -> list[dict[str, Any]]:
    """What holds of the evidence, asked of the ledger at the time of the decision."""
    with read_ledger(lab.ledger) as connection:
        findings = {
            "optimum within limits": audit.optimum_within_limits(connection),
            "rank correlation out of fold": audit.rank_correlation(
                connection, list(lab.study.objective), lab.study.rank_correlation_floor
            ),
            "coverage of the intervals": audit.interval_coverage(
                connection, list(lab.study.objective), lab.study.regression.level
            ),
            "inside the sampled region": audit.inside_sampled_region(connection),
            "losses complete": audit.losses_complete(connection, lab.targets),
        }
    return [
        {"check": name, "passed": finding.passed, "description": finding.description}
        for name, finding in findings.items()
    ]
