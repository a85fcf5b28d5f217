"""Stage 9, mixture decision: the record of what was chosen and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from regmix_pipeline.decisions.record import CODE_VERSION, decision_record, versions_behind
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import folder_written_atomically, read_json, write_json
from regmix_pipeline.formats.regmix import regmix_yaml


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    settings = {
        "study": workspace.study.name,
        "description": workspace.study.description,
        "limits": workspace.study.limits.recipe(),
        "objective": workspace.study.objective,
        "rank_correlation_floor": workspace.study.rank_correlation_floor,
        "alternatives": workspace.study.alternatives,
        "text_checks": workspace.study.text_checks.model_dump(
            mode="json", include={"flag_overlap", "flag_runs", "flag_lost"}
        ),
        "code": CODE_VERSION,
    }
    if families := workspace.study.families:
        settings["families"] = {name: family.model_dump(mode="json") for name, family in families.items()}
    return {UNPARTITIONED: Recipe(versions_behind(workspace), settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    record = decision_record(workspace)
    name = record["decision"]
    folder = workspace.path("decisions", name)
    with folder_written_atomically(folder) as temporary:
        write_json(temporary / "decision.json", record)
        (temporary / "mixture.yaml").write_text(regmix_yaml(record), encoding="utf-8")
    # The same evidence leads to the same id: then the first record stands, with its own time and run.
    record = read_json(folder / "decision.json")
    gain = record["gain"]
    workspace.write_rows(
        "decisions",
        name,
        [
            {
                "decision": name,
                "study": record["study"],
                "mixture": record["mixture"]["id"],
                "summary": record["summary"],
                "predicted_gain": gain["predicted"],
                "chance_better_than_natural": gain.get("chance_better_than_natural"),
                "decided_at": record["decided_at"],
                "record": json.dumps(record),
            }
        ],
    )
    besides = {"previous", *workspace.study.alternatives}
    rows = [row for row in record["predictions"] if row["name"] in besides]
    if rows:
        workspace.write_rows("predictions", name, rows)
    facts = {
        "decision": name,
        "summary": record["summary"],
        "flags": record["flags"] or "none",
        "predicted gain (nats/token)": gain["predicted"],
        "upstream versions": len(record["versions"]),
        "triggered by": ": ".join(filter(None, [record["triggered"].get("by"), record["triggered"].get("why")])) or "-",
        "previous decision": record["previous"] or "none",
    }
    yield Output(UNPARTITIONED, name, facts, [folder / "decision.json", folder / "mixture.yaml"])


MIXTURE_DECISION = Stage(
    "mixture_decision",
    (
        "optimal_mixture",
        "further_mixtures",
        "regressor",
        # The checks look at all evidence again.
        *("text_checks", "domain_inventory", "token_shards", "mixtures", "proxy_checkpoints", "proxy_losses"),
        *("earlier_runs", "imported_runs"),
    ),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    restores=False,  # taken again: its checks are asked again, and the same evidence leads to the same decision
    folders=("decisions",),
    kinds=("yaml", "duckdb"),
    group="decision",
    description="What was chosen, from which upstream versions, beside natural and uniform.",
)
