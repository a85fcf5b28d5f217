"""What a run changed, shown beside each asset in the Dagster UI: why it was made, what was reused, what is stale
now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from regmix_pipeline.engine.changes import input_changes
from regmix_pipeline.engine.workspace import PartitionResult, Stage, Workspace
from regmix_pipeline.files import read_json
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS
from regmix_pipeline.stages import STAGES
from regmix_pipeline.status import in_words, study_status, training_cost

SHOWN = 8
"""Names listed before the rest is counted."""
NOTHING_COMPUTED = "up to date, nothing computed"


def why_and_from_what(made: PartitionResult) -> dict[str, Any]:
    """Why a key was made, and which of its inputs are those of the version before."""
    if made.record is None or made.reused:
        return {"what changed": NOTHING_COMPUTED}
    changes = input_changes(made.previous, made.record)
    said: dict[str, Any] = {"what changed": str(made.reason)}
    if made.previous is not None and made.record.inputs:
        said["inputs as before"] = len(changes.kept)
        named = {"inputs changed": changes.changed, "inputs new": changes.new, "inputs gone": changes.gone}
        said |= {name: some(inputs) for name, inputs in named.items() if inputs}
    return said


def now_stale(workspace: Workspace, stage: Stage) -> dict[str, Any]:
    """What of the stages right after ``stage`` has to be made again, and why."""
    after = [each for each in STAGES if stage.name in each.upstream]
    found = study_status(workspace, *after).of(*after)
    return {"stale now": found or "nothing downstream"} if after else {}


def mixtures_and_their_cost(workspace: Workspace, made: PartitionResult) -> dict[str, Any]:
    """Which mixtures were kept, came and went, and what training their stale proxies asks."""
    said: dict[str, Any] = {}
    if made.record is not None and made.previous is not None and not made.reused:
        kept, new, gone = _compared(_ids(workspace, made.previous.files), _ids(workspace, made.record.files))
        came, went = _compared(made.previous.settings["domains"], made.record.settings["domains"])[1:]
        said |= {"mixtures kept": len(kept), "mixtures new": len(new), "mixtures gone": len(gone)}
        said |= {"domains arrived": some(came) or "none", "domains went": some(went) or "none"}
    return said | budget(workspace)


def budget(workspace: Workspace) -> dict[str, Any]:
    """Proxies that are stale, the tokens they ask, and what the study lets be spent without a click."""
    stale = study_status(workspace, PROXY_CHECKPOINTS).stale.get(PROXY_CHECKPOINTS.name, {})
    asked = training_cost(workspace, stale)
    return {
        "mixtures whose proxies are stale": len(stale),
        "proxies to train": asked.proxies,
        "tokens they ask": asked.tokens,
        "tokens allowed without a click": workspace.study.refit.max_new_tokens,
        **({"why they are stale": in_words(stale)} if stale else {}),
    }


def decision_before_and_now(workspace: Workspace, made: PartitionResult) -> dict[str, Any]:
    """The chosen weights beside those of the decision before, where there is one and it differs."""
    if made.record is None or made.previous is None or made.reused:
        return {}
    path = workspace.home / made.previous.files[0]
    if not path.is_file() or made.previous.version == made.record.version:
        return {}
    then, now = (
        {row["domain"]: row["weight"] for row in read_json(each)["domains"]}
        for each in (path, workspace.home / made.record.files[0])
    )
    rows = ["| domain | before | now |", "|---|---|---|"]
    for name in sorted({*then, *now}, key=lambda name: -abs(now.get(name, 0) - then.get(name, 0)))[:SHOWN]:
        before = f"{then[name]:.3f}" if name in then else "not there"
        rows.append(f"| {name} | {before} | {f'{now[name]:.3f}' if name in now else 'removed'} |")
    moved = sum(abs(now.get(name, 0) - then.get(name, 0)) for name in {*then, *now}) / 2
    return {
        "decision before": made.previous.version,
        "weight moved since": round(moved, 4),
        "before and now": dg.MetadataValue.md("\n".join(rows)),
    }


def some(names: Sequence[str]) -> str:
    """``a, b, c and 4 more``."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _ids(workspace: Workspace, files: Sequence[str]) -> list[str]:
    path = workspace.home / files[0]
    return [entry["id"] for entry in read_json(path)["mixtures"]] if path.is_file() else []


def _compared(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """(kept, new, gone), in order."""
    return (
        [each for each in now if each in before],
        [each for each in now if each not in before],
        [each for each in before if each not in now],
    )
