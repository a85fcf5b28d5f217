"""What a decision's record says of the phases of the large run, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.study.coordinates import domain_of, of_phase
from regmix_pipeline.study.phases import parts_of_phases, shares_of

if TYPE_CHECKING:
    from regmix_pipeline.study.study import Study


def phases_in_decision(study: Study) -> dict[str, Any]:
    """The phases as the decision states them; nothing where the study has none."""
    if not study.phases:
        return {}
    rows = [
        {"name": phase.name, "tokens": phase.tokens, "mixture": None if phase.mixture is None else shares_of(phase)}
        for phase in study.phases
    ]
    return {"phases": rows}


def chosen_together(record: Mapping[str, Any]) -> dict[str, int]:
    """`phase_parts` of a decision's record; empty where it chose one mixture."""
    rows = [row for row in record.get("phases") or () if row["mixture"] is None]
    return parts_of_phases((row["name"], row["tokens"]) for row in rows)


def phases_decided(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The phases of a decision's record, each with name, tokens, whether its mixture was chosen, and the mixture:
    domain -> share of the phase's tokens. Empty for a run of one phase."""
    weights, together = record["mixture"]["weights"], chosen_together(record)
    return [
        {
            "name": row["name"],
            "tokens": row["tokens"],
            "chosen": row["mixture"] is None,
            "mixture": row["mixture"] or (of_phase(weights, row["name"]) if together else dict(weights)),
        }
        for row in record.get("phases") or ()
    ]


def as_last_phase(record: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """A decision's record as that of its last phase alone, with weights by domain and the phases before settled; as it
    is where it chose one mixture.

    What the phases together may draw of a domain is a limit on epochs; no cap is that of the last phase's weight alone.

    Args:
        record: the decision's.
        name: of another phase that was chosen, which is then taken for the last.

    Raises:
        StudyError: no such phase was chosen.
    """
    together = chosen_together(record) or ([row["name"] for row in (record.get("phases") or [])[-1:]])
    if name is not None and name not in together:
        raise StudyError(
            f"the decision chose no phase {name!r}",
            where="--phase",
            remedy=f"name one of {', '.join(together)}" if together else "leave it out: the run has one phase",
        )
    if not chosen_together(record):
        return dict(record)
    phases = phases_decided(record)
    phases = phases[: [row["name"] for row in phases].index(name or phases[-1]["name"]) + 1]
    last, rows = phases[-1], {domain_of(row["domain"]): row for row in record["domains"]}
    return {
        **record,
        "mixture": {**record["mixture"], "weights": last["mixture"]},
        "limits": {**record["limits"], "target_tokens": last["tokens"]},
        "phases": [{name: row[name] for name in ("name", "tokens", "mixture")} for row in phases],
        "domains": [
            {**row, "domain": domain, "weight": last["mixture"].get(domain, 0.0), "cap": None}
            for domain, row in rows.items()
        ],
    }
