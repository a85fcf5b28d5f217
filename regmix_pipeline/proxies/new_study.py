"""Make imported runs part of a study file, or write a study about them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import yaml

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import written_atomically
from regmix_pipeline.proxies.run_tables import ImportedRun, read_runs
from regmix_pipeline.study.file import load_study

_HEAD = """# yaml-language-server: $schema=study.schema.json
# Written by `regmix import-runs`. Nothing is trained: regressor, search and decision are based on the tables below.
# The natural mixture is not in the tables; the mean of the runs represents it. Better: give every domain
# available_tokens instead of a prior, and limits: {target_tokens: ..., max_epochs: ...} for caps.
"""


def study_about(mixtures: Path, losses: Path, path: Path, target: str | None = None) -> list[ImportedRun]:
    """Write a study file about runs trained elsewhere; returns the runs.

    Args:
        mixtures: CSV of weights.
        losses: CSV of losses.
        path: the study file to write; must not exist.
        target: the target to minimise. None: all of them alike.

    Raises:
        RegressionError: the tables are not sound.
        StudyError: the file exists, or there is no such target.
    """
    if path.exists():
        raise StudyError(
            "exists already", where=str(path), remedy="name another with --write, or use --study to add to it"
        )
    runs = read_runs(mixtures, losses)
    domains = sorted({domain for run in runs for domain in run.mixture.weights})
    targets = list(runs[0].losses)
    if target is not None and target not in targets:
        raise StudyError(f"no target {target!r}", where="--target", remedy=f"choose one of {', '.join(targets)}")
    priors = np.mean([run.mixture.vector(domains) for run in runs], axis=0)
    content = {
        "name": path.stem.lower().replace("-", "_"),
        "description": f"What do {len(runs)} imported runs say of the best mixture?",
        "domains": {name: {"prior": round(float(prior), 6)} for name, prior in zip(domains, priors, strict=True)},
        "targets": {name: {"weight": 1 if target in (None, name) else 0} for name in targets},
        "imports": [_pair(mixtures, losses, path)],
        "mixtures": {"count": 0, "anchors": {"natural": False}},
    }
    with written_atomically(path) as temporary:
        temporary.write_text(_HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    try:
        load_study(path)
    except StudyError:
        path.unlink()
        raise
    return runs


def add_to_study(path: Path, mixtures: Path, losses: Path) -> list[ImportedRun]:
    """Add two tables to a study file's ``imports``, keeping its text and comments; returns the runs.

    Raises:
        RegressionError: the tables are not sound, or a column is not one of the study's domains or targets.
        StudyError: the study file is wrong, or its imports are written in a form that cannot be added to.
    """
    study = load_study(path)
    runs = read_runs(mixtures, losses, list(study.domains), list(study.targets))
    pair = _pair(mixtures, losses, path)
    if any(pair == known.model_dump(include=set(pair)) for known in study.imports):
        return runs
    text = path.read_text(encoding="utf-8")
    entry = f"  - {{mixtures: {_quoted(pair['mixtures'])}, losses: {_quoted(pair['losses'])}}}\n"
    if not study.imports and "imports" not in (yaml.safe_load(text) or {}):
        added = text.rstrip("\n") + "\n\nimports:\n" + entry
    elif "\nimports:\n" in text:
        added = text.replace("\nimports:\n", "\nimports:\n" + entry, 1)
    else:
        raise StudyError(
            "imports is not a list of one entry per line",
            where=str(path),
            remedy=f"add this to it by hand: {entry.strip()}",
        )
    with written_atomically(path) as temporary:
        temporary.write_text(added, encoding="utf-8")
    load_study(path)
    return runs


def _pair(mixtures: Path, losses: Path, study: Path) -> dict[str, str]:
    folder = study.resolve().parent
    return {
        "mixtures": os.path.relpath(mixtures.resolve(), folder),
        "losses": os.path.relpath(losses.resolve(), folder),
    }


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style='"', width=10_000).strip()
