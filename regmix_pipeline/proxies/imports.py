"""Stage of imported runs: evidence from proxies that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from regmix_pipeline.files import fingerprint, read_json, sha256_of
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import WHOLE, Recipe
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.run_tables import ImportedRun, read_runs

CODE_VERSION = "2"


def table_pairs(lab: Lab) -> list[tuple[Path, Path]]:
    """The study's pairs of tables: mixtures, losses."""
    return [(lab.base / pair.mixtures, lab.base / pair.losses) for pair in lab.study.imports]


def imported_runs(lab: Lab) -> list[ImportedRun]:
    """The runs that were imported, as recorded; none when the study imports none."""
    if not lab.study.imports:
        return []
    entries = read_json(lab.artefact("imported_runs", suffix=".json"))["runs"]
    return [ImportedRun(entry["id"], Mixture.of(entry["parts"]), entry["losses"], entry["tokens"]) for entry in entries]


def _wanted(lab: Lab) -> dict[str, Recipe]:
    if not lab.study.imports:
        return {}
    files = [[sha256_of(path) if path.is_file() else f"missing: {path}" for path in pair] for pair in table_pairs(lab)]
    tokens = [pair.tokens for pair in lab.study.imports]
    settings = {
        "files": files,
        "tokens": tokens,
        "domains": lab.domains,
        "targets": lab.targets,
        "code": CODE_VERSION,
    }
    return {WHOLE: Recipe({}, settings)}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    runs: list[ImportedRun] = []
    for number, (mixtures, losses) in enumerate(table_pairs(lab)):
        found = read_runs(mixtures, losses, lab.domains, lab.targets)
        # Two pairs of tables may both count their runs from 1.
        tokens = lab.study.imports[number].tokens
        runs += [ImportedRun(f"i{number}_{run.id}", run.mixture, run.losses, tokens) for run in found]
    entries = [
        {"id": run.id, "parts": dict(run.mixture.parts), "losses": run.losses, "tokens": run.tokens} for run in runs
    ]
    version = fingerprint("imported runs", entries)
    path = lab.write_json({"runs": entries}, "imports", f"{version}.json")
    distinct = {run.mixture.id: run.mixture for run in runs}
    lab.write_rows(
        "mixtures",
        version,
        [
            {
                "mixture": key,
                "position": position,
                "origin": "imported",
                "domain": domain,
                "weight": float(weight),
                "drawn_under": None,
            }
            for position, (key, mixture) in enumerate(distinct.items())
            for domain, weight in zip(lab.domains, mixture.vector(lab.domains), strict=True)
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
    lab.write_rows(
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
                "foretold": False,
                "loss": loss,
            }
            for run in runs
            for target, loss in run.losses.items()
        ],
    )
    facts = {
        "runs": len(runs),
        "distinct mixtures": len(distinct),
        "tables": [f"{pair.mixtures}, {pair.losses}" for pair in lab.study.imports],
    }
    yield Output(WHOLE, version, facts, [path])


IMPORTED_RUNS = Stage(
    "imported_runs",
    (),
    None,
    CODE_VERSION,
    _wanted,
    _make,
    folders=("imports",),
    kinds=("csv",),
    group="proxies",
    description="Mixtures and losses of runs trained elsewhere, joined by id; empty when the study imports none.",
)
