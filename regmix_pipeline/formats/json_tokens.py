"""JSON with all that a trainer of tokens needs: weights, tokens of every file, and the targets' validation tokens."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

from regmix_pipeline.files import json_text
from regmix_pipeline.formats.count import token_files
from regmix_pipeline.formats.export import EarlierPhase, Export
from regmix_pipeline.formats.format import Format
from regmix_pipeline.formats.plan import sampling_plan


def tokens(export: Export) -> dict[str, str]:
    """The mixture, domain by domain with the files to draw from, and the targets with theirs.

    ``available_tokens`` of a file may be less than it holds: then the run may see its first tokens alone, so that it
    repeats the domain as often as the large run will.
    """
    before = export.tokens_before
    plan = sampling_plan(export.weights, export.data, export.budget) if export.budget else []
    domains: dict[str, dict[str, Any]] = {}
    for domain, weight in export.weights.items():
        data = export.data[domain]
        rows = [row.as_json() for row in plan if row.domain == domain]
        drawn = sum(row["tokens"] for row in rows) if rows else None
        domains[domain] = {
            "weight": weight,
            "tokens": drawn,
            "available_tokens": data.available,
            "epochs": (before.get(domain, 0) + drawn) / data.available
            if drawn is not None and data.available
            else None,
            "dtype": data.dtype or None,
            "files": [{name: item for name, item in row.items() if name != "domain"} for row in rows]
            or [{"file": file.address, "available_tokens": file.tokens} for file in data.listed],
        }
    content = {
        "about": export.about(),
        "tokens": export.budget,
        "seed": export.seed,
        "weights": export.weights,
        "domains": domains,
        **({"phases": _schedule(export)} if export.earlier else {}),
        "objective": dict(export.objective),
        "targets": {name: asdict(target) for name, target in export.targets.items()},
    }
    return {"": json_text(content)}


def _schedule(export: Export) -> list[dict[str, Any]]:
    """Name, tokens, weights and first token of every phase, in order."""
    phases = [*export.earlier, EarlierPhase(export.phase, export.budget or 0, export.weights)]
    starts = itertools.accumulate((phase.tokens for phase in phases), initial=0)
    return [asdict(phase) | {"starts_at_token": start} for phase, start in zip(phases, starts, strict=False)]


JSON = Format(
    tokens,
    ".json",
    "token files",
    count=token_files,
    schedule=True,
    phases="lists all phases under `phases`, each with its first token; `weights` and `domains` are the last one's, "
    "and epochs are of all together",
)
