"""Make imported runs part of a study file, or write a study about them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import written_atomically
from regmix_pipeline.proxies.run_tables import ImportedRun, columns_of, joined_runs, read_runs, read_table
from regmix_pipeline.proxies.table_columns import LeftOut, columns_left_out
from regmix_pipeline.study.file import load_study

_HEAD = """# yaml-language-server: $schema=study.schema.json
# Written by `regmix import-runs`. Nothing is trained: regressor, search and decision are based on the tables below.
# The natural mixture is not in the tables; the mean of the runs represents it. Better: give every domain
# available_tokens instead of a prior, and limits: {target_tokens: ..., max_epochs: ...} for caps.
"""


@dataclass(frozen=True)
class TakenRuns:
    """Runs that became evidence.

    Attributes:
        runs: the runs.
        left_out: columns that were not taken, and why.
    """

    runs: list[ImportedRun]
    left_out: list[LeftOut] = field(default_factory=list)


def study_about(
    mixtures: Path,
    losses: Path,
    path: Path,
    target: str | None = None,
    *,
    keep: Collection[str] = (),
    ignore: Collection[str] = (),
) -> TakenRuns:
    """Write a study file about runs trained elsewhere.

    Args:
        mixtures: CSV of weights.
        losses: CSV of losses.
        path: the study file to write; must not exist.
        target: the target to minimise. None: all of them alike.
        keep: columns to take whatever they look like.
        ignore: columns to leave out.

    Raises:
        RegressionError: the tables are not sound.
        StudyError: the file exists, or there is no such target.
    """
    if path.exists():
        raise StudyError(
            "exists already", where=str(path), remedy="name another with --write, or use --study to add to it"
        )
    left_out = [LeftOut(column, "asked for") for column in ignore]
    tables = read_table(mixtures), read_table(losses)
    for table, what in zip(tables, ("domain", "target"), strict=True):
        columns = {name: values for name, values in columns_of(table).items() if name not in ignore}
        left_out += columns_left_out(columns, what, keep, str(table.path))
    ignored = tuple(each.column for each in left_out)
    runs = joined_runs(*tables, ignore=ignored)
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
        "imports": [_entry(mixtures, losses, path, ignored)],
        "mixtures": {"count": 0, "anchors": {"natural": False}},
    }
    with written_atomically(path) as temporary:
        temporary.write_text(_HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    try:
        load_study(path)
    except StudyError:
        path.unlink()
        raise
    return TakenRuns(runs, left_out)


def add_to_study(path: Path, mixtures: Path, losses: Path, *, ignore: Collection[str] = ()) -> TakenRuns:
    """Add two tables to a study file's ``imports``, keeping its text and comments.

    Args:
        ignore: columns to leave out.

    Raises:
        RegressionError: the tables are not sound, or a column is not one of the study's domains or targets.
        StudyError: the study file is wrong, or its imports are written in a form that cannot be added to.
    """
    study = load_study(path)
    runs = read_runs(mixtures, losses, list(study.domains), list(study.targets), ignore)
    entry, left_out = _entry(mixtures, losses, path, ignore), [LeftOut(column, "asked for") for column in ignore]
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    if entry in (written.get("imports") or []):
        return TakenRuns(runs, left_out)
    wanted = written | {"imports": [entry, *(written.get("imports") or [])]}
    for text in _with_entry(path.read_text(encoding="utf-8"), entry, wanted):
        # Only what reads as the same study with one entry more takes the place of the file.
        if _read(text) == wanted:
            with written_atomically(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            return TakenRuns(runs, left_out)
    raise StudyError(
        "the file is written in a form that nothing can be added to",
        where=str(path),
        remedy=f"add this to its imports by hand: {_flow(entry)}",
    )


def _with_entry(text: str, entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """The study's text with one import more, in the ways that it may be written."""
    line = f"- {_flow(entry)}\n"
    for found in re.finditer(r"^(?P<indent>\s*)imports:[^\S\n]*\n(?P<items>[^\S\n]*)(?=-)", text, re.MULTILINE):
        yield text[: found.end()] + line + found["items"] + text[found.end() :]
    indent = (re.match(r"(?:\s*#.*\n|\s*\n|---\s*\n)*(?P<indent> *)", text) or {"indent": ""})["indent"]
    body = re.sub(r"\n\.\.\.\s*$", "\n", text).rstrip("\n")
    yield f"{body}\n\n{indent}imports:\n{indent}  {line}"
    if text.lstrip().startswith("{"):
        yield json.dumps(wanted, indent=1, ensure_ascii=False) + "\n"


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _entry(mixtures: Path, losses: Path, study: Path, ignore: Collection[str]) -> dict[str, Any]:
    folder = study.resolve().parent
    entry = {
        "mixtures": os.path.relpath(mixtures.resolve(), folder),
        "losses": os.path.relpath(losses.resolve(), folder),
    }
    return entry | ({"ignore": list(ignore)} if ignore else {})


def _flow(entry: Mapping[str, Any]) -> str:
    return yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True).strip()
