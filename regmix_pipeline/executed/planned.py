"""What was to be drawn: of an exported sampling plan, or of a decision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.formats.export import drawn_before, earlier_phases
from regmix_pipeline.study.phases_of_decision import as_last_phase


@dataclass(frozen=True)
class Planned:
    """A plan.

    Attributes:
        name: of the decision.
        shares: domain -> share of the tokens, of the domains that are drawn, in the order of the export.
        available: domain -> tokens available; those of which nobody knows are left out.
        max_epochs: how often the run may see the same token.
        addresses: address of a file or folder -> its domain.
        files: domain -> tokens drawn from each of its files, in the order of the export; empty without a plan.
        before: domain -> tokens that earlier phases of the run drew.
        phase: that the plan is of; "" for a run of one, and of an exported plan.
    """

    name: str
    shares: Mapping[str, float]
    available: Mapping[str, int]
    max_epochs: float
    addresses: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)
    phase: str = ""


def plan_in(path: Path) -> Planned:
    """The plan that `regmix export` wrote beside its files, ``*.plan.json``.

    Raises:
        StudyError: it cannot be read, or is no such plan.
    """
    remedy = "give the *.plan.json that `regmix export` wrote"
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        domains, files = plan["domains"], plan["files"]
        return Planned(
            str(plan["about"].get("decision") or plan["about"].get("mixture")),
            {row["domain"]: float(row["share"]) for row in domains},
            {row["domain"]: int(row["available_tokens"]) for row in domains if row["available_tokens"]},
            float(plan["max_epochs"]),
            {row["file"]: row["domain"] for row in files},
            {
                row["domain"]: tuple(int(each["tokens"]) for each in files if each["domain"] == row["domain"])
                for row in domains
            },
            {domain: int(tokens) for domain, tokens in plan.get("tokens_before", {}).items()},
        )
    except OSError as error:
        raise StudyError(f"cannot be read: {error.strerror}", where=str(path), remedy=remedy) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise StudyError(f"is not a sampling plan: {what}", where=str(path), remedy=remedy) from error


def plan_of(record: Mapping[str, Any], phase: str | None = None) -> Planned:
    """The plan of a decision's record; of several phases that it chose at once, of one: the last, where none is named.

    Raises:
        StudyError: no such phase was chosen.
    """
    record = as_last_phase(record, phase)
    phases = record.get("phases") or []
    available = {row["domain"]: row.get("available_tokens") for row in record["domains"]}
    return Planned(
        record["decision"],
        {domain: weight for domain, weight in record["mixture"]["weights"].items() if weight > 0},
        {domain: tokens for domain, tokens in available.items() if tokens},
        float(record.get("limits", {}).get("max_epochs") or 4.0),
        before=drawn_before(earlier_phases(record)),
        phase=phases[-1]["name"] if phases else "",
    )
