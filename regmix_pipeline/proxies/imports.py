"""Stage of imported runs: evidence from proxies that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import RegressionError
from regmix_pipeline.files import fingerprint, read_json, sha256_of
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.rows import mixture_rows
from regmix_pipeline.proxies.run_facts import fitted_size
from regmix_pipeline.proxies.run_tables import ImportedRun, RunsRead, read_runs
from regmix_pipeline.study.settings.imports import RunTableSettings
from regmix_pipeline.study.study import Study

CODE_VERSION = "2"


def table_pairs(workspace: Workspace) -> list[tuple[Path, Path]]:
    """The study's pairs of tables: mixtures, losses."""
    return [(workspace.base / pair.mixtures, workspace.base / pair.losses) for pair in workspace.study.imports]


def runs_in_tables(workspace: Workspace) -> Iterator[RunsRead]:
    """The runs in each pair of the study's tables. Raises RegressionError where they are not sound."""
    for (mixtures, losses), pair in zip(table_pairs(workspace), workspace.study.imports, strict=True):
        yield read_runs(mixtures, losses, workspace.domains, workspace.targets, pair)


def imported_runs(workspace: Workspace) -> list[ImportedRun]:
    """The runs that were imported and are fitted, as recorded; none when the study imports none."""
    return _recorded(workspace, "runs")


def runs_of_other_sizes(workspace: Workspace) -> list[ImportedRun]:
    """The runs that were imported and are not fitted, because their models have another size than those that are."""
    return _recorded(workspace, "other_sizes")


def _recorded(workspace: Workspace, key: str) -> list[ImportedRun]:
    if not workspace.study.imports:
        return []
    entries = read_json(workspace.artefact("imported_runs", suffix=".json")).get(key, [])
    return [
        ImportedRun(
            entry["id"],
            Mixture.of(entry["parts"]),
            entry["losses"],
            entry["tokens"],
            entry.get("parameters"),
            entry.get("seed"),
        )
        for entry in entries
    ]


def split_by_size(study: Study, runs: Sequence[ImportedRun]) -> tuple[list[ImportedRun], list[ImportedRun]]:
    """Runs of the model size that is fitted, and the others; see `Study.imported_size`.

    Raises:
        RegressionError: no run has the size that the study asks for.
    """
    model = study.proxies.model_settings
    trained = study.tokenizer.train if study.tokenizer else None
    vocabulary = study.proxies.vocabulary or (trained.vocab_size if trained else None)
    own = [model.non_embedding_parameters(), *([model.parameters(vocabulary)] if vocabulary else [])]
    sizes = [run.parameters for run in runs]
    taken = fitted_size(sizes, study.imported_size, own if study.trains else ())
    if study.imported_size is not None and not taken:
        there = ", ".join(f"{size:,}" for size in sorted({size for size in sizes if size}))
        raise RegressionError(
            f"no imported run has {study.imported_size:,} parameters",
            where="imported_size",
            remedy=f"choose one of {there}",
        )
    return [run for run in runs if run.parameters in taken], [run for run in runs if run.parameters not in taken]


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
    if any(reading := [_reading(pair) for pair in workspace.study.imports]):
        settings["reading"] = reading
        settings["fitted size"] = workspace.study.imported_size
        if workspace.study.trains:
            settings["model"] = workspace.study.proxies.model_settings.model_dump(mode="json")
    return {UNPARTITIONED: Recipe({}, settings)}


def _reading(pair: RunTableSettings) -> dict[str, Any]:
    """What a pair of tables says beside its files, and nothing where it says nothing."""
    return pair.model_dump(mode="json", exclude_defaults=True, exclude={"mixtures", "losses", "tokens", "ignore"})


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    every: list[ImportedRun] = []
    partial = 0
    for number, read in enumerate(runs_in_tables(workspace)):
        # Two pairs of tables may both count their runs from 1.
        every += [replace(run, id=f"i{number}_{run.id}") for run in read.runs]
        partial += len(read.partial)
    runs, others = split_by_size(workspace.study, every)
    entries, held = [_entry(run) for run in runs], [_entry(run) for run in others]
    version = fingerprint("imported runs", entries, held) if held else fingerprint("imported runs", entries)
    content = {"runs": entries} | ({"other_sizes": held} if held else {})
    path = workspace.write_json(content, "imports", f"{version}.json")
    distinct = {run.mixture.id: run.mixture for run in runs}
    rows = mixture_rows(distinct, workspace.domains, dict.fromkeys(distinct, "imported"))
    workspace.write_rows("mixtures", version, rows)
    unknown = dict.fromkeys(
        (
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
                # Beside the study's own proxies the same number is another seed: of another trainer.
                "seed": None if workspace.study.trains else run.seed,
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
    if partial:
        facts["partial runs"] = partial
    if others:
        facts["runs of other model sizes, not fitted"] = len(others)
    yield Output(UNPARTITIONED, version, facts, [path])


def _entry(run: ImportedRun) -> dict[str, Any]:
    entry = {"id": run.id, "parts": dict(run.mixture.parts), "losses": run.losses, "tokens": run.tokens}
    known = {"parameters": run.parameters, "seed": run.seed}
    return entry | {name: value for name, value in known.items() if value is not None}


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
