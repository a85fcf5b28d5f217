"""The decision record: what was chosen, from which versions of everything, beside which alternatives."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

import regmix_pipeline
from regmix_pipeline import checks
from regmix_pipeline.decisions.alternatives import compared, predictions_for, previous_alternative
from regmix_pipeline.decisions.caveats import beyond_sampled, undecided
from regmix_pipeline.decisions.families import family_rows
from regmix_pipeline.decisions.ngrams import overlap_measured, reliance_on_ngrams
from regmix_pipeline.decisions.rounds import measured_gain, rounds_of
from regmix_pipeline.engine.records import UNPARTITIONED, Record, now
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import canonical_json, fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.rounds import next_round
from regmix_pipeline.study.phases_of_decision import chosen_together, phases_decided, phases_in_decision
from regmix_pipeline.study.repetition import limits_in_decision

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor

CODE_VERSION = "7"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch", "tokenizers", "datatrove", "dagster", "duckdb")


def lineage_of(workspace: Workspace, asset: str) -> dict[str, str]:
    """``asset/key`` -> version of an asset's current record and of everything it was made from, however far back.

    Inputs are followed by the versions their records name, which need not be the current ones. Where two versions of
    one thing took part, the further ones are listed as ``asset/key@version``.

    Raises:
        LedgerError: the asset was not made, or a record it names is gone.
    """
    found: dict[str, str] = {}
    records = workspace.records.for_lineage
    waiting = [(asset, UNPARTITIONED, workspace.need(asset).version)]
    while waiting:
        name, key, version = waiting.pop()
        place = f"{name}/{key}"
        if version in (found.get(place), found.get(f"{place}@{version}")):
            continue
        found[place if place not in found else f"{place}@{version}"] = version
        record = records.version(name, key, version)
        if record is None:
            raise LedgerError(f"no record of version {version}", where=place, remedy="materialise it again")
        waiting += [(*upstream.split("/", 1), made_from) for upstream, made_from in record.inputs.items()]  # type: ignore[misc]
    return dict(sorted(found.items()))


def decision_record(workspace: Workspace) -> dict[str, Any]:
    """The decision that the current optimal mixture leads to, JSON-able.

    Its id is the hash of what was asked, what was decided, what the checks found and every upstream version: deciding
    again from the same evidence is the same decision, whenever and by whomever it is taken. Its seal is the hash of
    everything else in the record too.
    """
    from regmix_pipeline.regression.fitted import FittedRegressor

    optimum = workspace.json("optimal_mixture")
    fitted = FittedRegressor.load(workspace.artefact("regressor", suffix="regressor.json").parent)
    alternatives = compared(workspace, fitted)
    given = {each.name: each.mixture for each in alternatives if each.name in workspace.study.alternatives}
    checks = _checks(workspace)
    ngrams = reliance_on_ngrams(workspace, fitted, optimum["objective"])
    decided = {
        "study": workspace.study.name,
        "description": workspace.study.description,
        "mixture": {"id": optimum["mixture"], "weights": Mixture.of(optimum["parts"]).weights},
        "objective": optimum["objective"],
        "objective_asked": workspace.study.objective,
        "rank_correlation_floor": workspace.study.rank_correlation_floor,
        "limits": workspace.study.limits.recipe(),
        "repetition": limits_in_decision(workspace.study),
        **phases_in_decision(workspace.study),
        "shadow_prices": optimum["shadow_prices"],
        "domains": optimum["domains"],
        "predictions": optimum["predictions"] + predictions_for(fitted, given, optimum["objective"]),
        "alternatives": {each.name: each.as_json() for each in alternatives},
        "gain": optimum["gain"],
        "active": optimum["active"],
        **_targets_together(workspace, optimum),
        "stability": _stability(workspace),
        "rounds": rounds_of(workspace, _of_proxies(workspace, fitted), optimum["objective"])
        if workspace.study.trains
        else [],
        "ngrams": ngrams,
        "regressors": fitted.chosen,
        "regression": evidence_of(fitted),
        "search": optimum["search"],
        **({"size": optimum["size"]} if "size" in optimum else {}),
        "checks": checks,
        "flags": [
            *(check["description"] for check in checks if not check["passed"]),
            *_rounds_left(workspace),
            *overlap_measured(workspace, ngrams),
            *optimum.get("flags", []),
        ],
        "versions": versions_behind(workspace),
        "code": {"package": regmix_pipeline.__version__, "decisions": CODE_VERSION},
    }
    record = {"decision": decision_id(decided), **decided}
    return sealed(record | _circumstances(workspace, record, fitted))


def _of_proxies(workspace: Workspace, fitted: FittedRegressor) -> FittedRegressor:
    """The regressors at the size that was measured, where those that decide are for another."""
    from regmix_pipeline.regression.at_target import BASE

    folder = workspace.artefact("regressor", suffix="regressor.json").parent / BASE
    return type(fitted).load(folder) if folder.is_dir() else fitted


NON_CONTENT_FIELDS = (
    "decided_at",
    "runs",
    "records",
    "journal",
    "run",
    "triggered",
    "previous",
    "environment",
    "summary",
    "seal",
)
"""What a record states beside the decision itself: when, by whom, on which machine, after which other one."""


def decision_id(record: Mapping[str, Any]) -> str:
    """The id that a record's content gives, ``d`` and 16 hex digits; circumstances, and the id itself, left out."""
    content = {name: value for name, value in record.items() if name not in (*NON_CONTENT_FIELDS, "decision")}
    content["predictions"] = [row for row in content["predictions"] if row["name"] != "previous"]
    content["alternatives"] = {name: one for name, one in content["alternatives"].items() if name != "previous"}
    return "d" + fingerprint("decision", content)


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its seal, the SHA-256 of the canonical JSON of all the rest."""
    content = {name: value for name, value in record.items() if name != "seal"}
    return content | {"seal": hashlib.sha256(canonical_json(content).encode()).hexdigest()}


def _circumstances(workspace: Workspace, record: Mapping[str, Any], fitted: FittedRegressor) -> dict[str, Any]:
    last, behind = previous_alternative(workspace, record["decision"]), _behind(workspace, record["versions"])
    named = {"previous": last.mixture} if last else {}
    return {
        "predictions": record["predictions"] + predictions_for(fitted, named, record["objective"]),
        "alternatives": record["alternatives"] | ({"previous": last.as_json()} if last else {}),
        "previous": last.origin.removeprefix("decision ") if last else None,
        "decided_at": now(),
        "run": workspace.run,
        "runs": _by_run(behind),
        "records": {place: {"recipe": each.recipe, "digest": each.digest} for place, each in behind.items()},
        "journal": str(workspace.records.journal.head),
        "triggered": dict(workspace.triggered),
        "environment": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "libraries": _installed(),
        },
        "summary": summary_of(record),
    }


def _installed() -> dict[str, str]:
    """Versions of the libraries that are installed: a base install has no torch."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _behind(workspace: Workspace, versions: Mapping[str, str]) -> dict[str, Record]:
    """``asset/key`` -> the record that is was based on: the latest of its version, as `lineage_of` followed it."""
    found, records = {}, workspace.records.for_lineage
    for place, version in versions.items():
        asset, key = place.split("@")[0].split("/", 1)
        record = records.version(asset, key, version)
        if record is not None:
            found[place] = record
    return found


def _by_run(behind: Mapping[str, Record]) -> dict[str, list[str]]:
    """Dagster run -> what it made of everything upstream; "" for what was made outside Dagster."""
    found: dict[str, list[str]] = {}
    for place, record in behind.items():
        found.setdefault(record.run, []).append(place)
    return dict(sorted(found.items()))


def evidence_of(fitted: FittedRegressor) -> dict[str, Any]:
    """Target -> the regressor that predicts it: what it is mixed from, how it is set, and its scores out of fold."""
    models = {name: dict(model.parameters()) for name, model in fitted.models.items()}
    for name, model in fitted.models.items():
        # Shape and penalty of a law were found by cross-validation inside the training rows.
        found = {each: model.learned_[each] for each in ("shapes", "penalty", "memory") if each in model.learned_}
        models[name] |= {each: np.asarray(value).tolist() for each, value in found.items()}
    rows = [row for row in fitted.scores if row["chosen"]]
    return {
        target: {
            "regressor": fitted.chosen[target],
            "blend": fitted.blend[target],
            "hyperparameters": {name: models[name] for name, share in fitted.blend[target].items() if share},
            "scores": {
                f"{row['metric']} ({row['split']} folds)": {end: row[end] for end in ("value", "low", "high")}
                for row in rows
                if row["target"] == target
            },
        }
        for target in fitted.targets
    }


def versions_behind(workspace: Workspace) -> dict[str, str]:
    """``asset/key`` -> version of everything that a decision is based on."""
    versions = lineage_of(workspace, "optimal_mixture")
    if not workspace.study.trains:
        return versions
    return versions | workspace.versions("further_mixtures") | workspace.versions("text_checks")


def _targets_together(workspace: Workspace, optimum: Mapping[str, Any]) -> dict[str, Any]:
    """Guardrails with what the chosen mixture makes of them, and the families of targets; nothing where there are
    none."""
    found = {"guardrails": optimum["guardrails"]} if optimum.get("guardrails") else {}
    families = family_rows(workspace.study, optimum["objective"], optimum["predictions"])
    return found | ({"families": families} if families else {})


def _stability(workspace: Workspace) -> dict[str, Any] | None:
    """Expected regret and gain, nats per token, and whether the first is small; None for imported runs alone."""
    if not workspace.study.trains:
        return None
    found = workspace.json("further_mixtures")
    return {name: found[name] for name in ("stable", "expected_regret", "expected_gain")}


def _rounds_left(workspace: Workspace) -> list[str]:
    """A flag where the study's count of mixtures is not spent yet."""
    following = next_round(workspace)
    if following is None or workspace.json("further_mixtures")["ended"]:
        return []
    return [
        f"decided before round {following.number} of {following.of}: {following.left} of the study's "
        f"{workspace.study.mixtures.count} mixtures are not chosen yet; `regmix run` goes on with them"
    ]


def summary_of(record: Mapping[str, Any]) -> str:
    """The decision in a sentence: the heaviest domains, the predicted gain, the chance that it is one."""
    heaviest = _heaviest(record["mixture"]["weights"])
    if together := chosen_together(record):
        phases = [row for row in phases_decided(record) if row["name"] in together]
        heaviest = ", then ".join(f"{_heaviest(row['mixture'])} in {row['name']}" for row in phases)
    gain = record["gain"]
    # Without what such a search overstates: the figure that interval and chance are about.
    expected = gain.get("corrected", gain["predicted"])
    side = "below" if expected >= 0 else "above"
    reach = f" (90% interval {gain['low']:+.3f} to {gain['high']:+.3f})" if "low" in gain else ""
    measured = measured_gain(record)
    shown = ""
    if measured is not None and expected > 0:
        side_of_best = "below" if measured >= 0 else "above"
        shown = f" The best measured mixture is {abs(measured):.3f} {side_of_best} it; more is predicted, not measured."
        if measured >= expected:
            shown = " A mixture as good was measured."
    return (
        f"Train on {heaviest}: predicted {abs(expected):.3f} nats per "
        f"token {side} the natural mixture on {' + '.join(record['objective'])}{reach}, better with probability "
        f"{_chance(gain['chance_better_than_natural'])}{_open_weight(record)}.{shown}"
    )


def _heaviest(mixture: Mapping[str, float]) -> str:
    """The heaviest domains of a mixture, in words."""
    weights = sorted(mixture.items(), key=lambda item: -item[1])
    said = ", ".join(f"{weight:.0%} {domain}" for domain, weight in weights[:3])
    return f"{said} and {len(weights) - 3} more" if len(weights) > 3 else said


def _open_weight(record: Mapping[str, Any]) -> str:
    """Whether the largest weight is pinned down, as the end of a sentence; "" if it is."""
    row = max(record["domains"], key=lambda row: row["weight"], default=None)
    if row is None or not undecided(row):
        return ""
    return (
        f"; the weight of {row['domain']} is not pinned down ({row['low']:.0%} to {row['high']:.0%} are as good"
        f"{beyond_sampled(row)})"
    )


def _chance(chance: float) -> str:
    """A probability in words that never claim certainty."""
    return "above 99%" if chance > 0.99 else "below 1%" if chance < 0.01 else f"{chance:.0%}"


def _checks(workspace: Workspace) -> list[dict[str, Any]]:
    """What holds of the evidence at the time of the decision."""
    study, asked = workspace.study, list(workspace.study.objective)
    with workspace.tables(*checks.TABLES_READ, ever=["domain_inventory"]) as connection:
        findings = {}
        if study.trains:
            findings |= {
                "no target's text is trained on": checks.targets_not_trained_on(connection, study.text_checks),
                "the tokenizer knows the text": checks.tokenizer_covers(connection, study.text_checks),
                "shards hold what the inventory states": checks.shards_match_inventory(
                    connection, workspace.path("shards")
                ),
                "executed tokens equal the mixtures": checks.executed_tokens_match(connection, study.slack),
            }
        findings |= {
            "weights sum to one within caps": checks.mixtures_on_simplex(connection),
            "optimum within limits": checks.optimum_within_limits(connection),
            "rank correlation out of fold": checks.rank_correlation(connection, asked, study.rank_correlation_floor),
            "coverage of the intervals": checks.interval_coverage(connection, asked, study.regression.level),
            "inside the sampled region": checks.inside_sampled_region(connection),
            "losses complete": checks.losses_complete(
                connection, workspace.targets, with_errors=study.proxies.trainer is None
            ),
        }
    return [
        {"check": name, "passed": finding.passed, "description": finding.description}
        for name, finding in findings.items()
    ]
