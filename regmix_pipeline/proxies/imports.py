"""Stage of imported runs: evidence from proxies that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint, read_json, sha256_of
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.run_tables import ImportedRun, read_runs

CODE_VERSION = "2"


def table_pairs(workspace: Workspace) -> list[tuple[Path, Path]]:
    """The study's pairs of tables: mixtures, losses."""
    return [(workspace.base / pair.mixtures, workspace.base / pair.losses) for pair in workspace.study.imports]


def runs_in_tables(workspace: Workspace) -> Iterator[list[ImportedRun]]:
    """The runs in each pair of the study's tables. Raises RegressionError where they are not sound."""
    for (mixtures, losses), pair in zip(table_pairs(workspace), workspace.study.imports, strict=True):
        yield read_runs(mixtures, losses, workspace.domains, workspace.targets, pair.ignore)


def imported_runs(workspace: Workspace) -> list[ImportedRun]:
    """The runs that were imported, as recorded; none when the study imports none."""
    if not workspace.study.imports:
        return []
    entries = read_json(workspace.artefact("imported_runs", suffix=".json"))["runs"]
    return [ImportedRun(entry["id"], Mixture.of(entry["parts"]), entry["losses"], entry["tokens"]) for entry in entries]


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    if not workspace.study.imports:
        return {}
    files = [
        [sha256_of(path) if path.is_file() else f"missing: {path}" for path in pair] for pair in table_pairs(workspace)
    ]
    tokens = [pair.tokens for pair in workspace.study.imports]
    settings = {
        "files": files,
        "tokens": tokens,
        "ignore": [list(pair.ignore) for pair in workspace.study.imports],
        "domains": workspace.domains,
        "targets": workspace.targets,
        "code": CODE_VERSION,
    }
    return {UNPARTITIONED: Recipe({}, settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    runs: list[ImportedRun] = []
    for number, found in enumerate(runs_in_tables(workspace)):
        # Two pairs of tables may both count their runs from 1.
        tokens = workspace.study.imports[number].tokens
        runs += [ImportedRun(f"i{number}_{run.id}", run.mixture, run.losses, tokens) for run in found]
    entries = [
        {"id": run.id, "parts": dict(run.mixture.parts), "losses": run.losses, "tokens": run.tokens} for run in runs
    ]
    version = fingerprint("imported runs", entries)
    path = workspace.write_json({"runs": entries}, "imports", f"{version}.json")
    distinct = {run.mixture.id: run.mixture for run in runs}
    workspace.write_rows(
        "mixtures",
        version,
        [
            {
                "mixture": key,
                "position": position,
                "origin": "imported",
                "round": None,
                "domain": domain,
                "weight": float(weight),
                "drawn_under": None,
            }
            for position, (key, mixture) in enumerate(distinct.items())
            for domain, weight in zip(workspace.domains, mixture.vector(workspace.domains), strict=True)
        ],
    )
    unknown = dict.fromkeys(
        (
            "seed",
            "target_version",
            "step",
            "standard_error",
            "bits_per_byte",
            "bits_per_byte_standard_error",
            "evaluated_tokens",
        )
    )
    workspace.write_rows(
        "proxy_losses",
        version,
        [
            unknown
            | {
                "proxy": run.id,
                "mixture": run.mixture.id,
                "target": target,
                "tokens": run.tokens,
                "final": True,
                "extrapolated": False,
                "loss": loss,
            }
            for run in runs
            for target, loss in run.losses.items()
        ],
    )
    facts = {
        "runs": len(runs),
        "distinct mixtures": len(distinct),
        "tables": [f"{pair.mixtures}, {pair.losses}" for pair in workspace.study.imports],
    }
    yield Output(UNPARTITIONED, version, facts, [path])


IMPORTED_RUNS = Stage(
    "imported_runs",
    (),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("imports",),
    kinds=("csv",),
    group="proxies",
    description="Mixtures and losses of runs trained elsewhere, joined by id; empty when the study imports none.",
)
