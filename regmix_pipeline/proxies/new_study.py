"""Make imported runs part of a study file, or write a study about them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from regmix_pipeline.errors import RegmixError, RegressionError, StudyError
from regmix_pipeline.files import written_atomically
from regmix_pipeline.proxies.run_facts import amount_of, columns_named, fact_columns
from regmix_pipeline.proxies.run_files import RunTable, read_table
from regmix_pipeline.proxies.run_ids import key_of
from regmix_pipeline.proxies.run_names import columns_of_values, domain_name
from regmix_pipeline.proxies.run_notes import notes_of
from regmix_pipeline.proxies.run_tables import ImportedRun, joined_runs
from regmix_pipeline.proxies.table_columns import LeftOut, columns_left_out
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.settings.imports import RunColumns, RunTableSettings

_HEAD = """# yaml-language-server: $schema=study.schema.json
# Written by `regmix import-runs`. Nothing is trained: regressor, search and decision are based on the tables below.
"""
_OF_MEANS = """\
# The natural mixture is not in the tables; the mean of the runs represents it. Better: give every domain
# available_tokens instead of a prior, and limits: {target_tokens: ..., max_epochs: ...} for caps.
"""


@dataclass(frozen=True)
class TakenRuns:
    """Runs that became evidence.

    Attributes:
        runs: the runs, of every model size.
        left_out: columns that were not taken, and why.
        columns: fact of each run -> the column that says it.
        notes: what else a person should know of how the tables were read.
    """

    runs: list[ImportedRun]
    left_out: list[LeftOut]
    columns: dict[str, str]
    notes: list[str]


def study_about(
    mixtures: Path,
    losses: Path,
    path: Path,
    target: str | None = None,
    *,
    keep: Collection[str] = (),
    settings: RunTableSettings | None = None,
    available: Path | None = None,
    size: int | None = None,
) -> TakenRuns:
    """Write a study file about runs trained elsewhere.

    Args:
        mixtures: table of weights.
        losses: table of losses.
        path: the study file to write; must not exist.
        target: the target to minimise. None: all of them alike.
        keep: columns to take whatever they look like.
        settings: how the tables are read; its ``ignore`` are columns to leave out.
        available: table of domains and the tokens available of each, in columns ``domain`` and ``available_tokens``.
        size: parameters of the runs that are fitted, where they have several model sizes.

    Raises:
        RegressionError: the tables are not sound.
        StudyError: the file exists, there is no such target, or the runs' tokens are stated and the domains' are not.
    """
    if path.exists():
        raise StudyError(
            "exists already", where=str(path), remedy="name another with --write, or use --study to add to it"
        )
    settings = settings or RunTableSettings()
    if settings.tokens is not None and available is None:
        raise StudyError(
            "the runs' tokens count epochs, and of what is not known",
            where="--tokens",
            remedy="give the domains' tokens by --available, or leave it out",
        )
    left_out = [LeftOut(column, "asked for") for column in settings.ignore]
    tables = read_table(mixtures), read_table(losses)
    settings = _with_facts(settings, tables, keep)
    key = key_of(*tables)
    for table, what in zip(tables, ("domain", "target"), strict=True):
        patterns = settings.domain_columns if what == "domain" else settings.target_columns
        names = columns_of_values(table, settings, key, patterns)
        columns = {name: [row[name] for row in table.rows.values()] for name in names}
        left_out += columns_left_out(columns, what, keep, str(table.path))
    settings = settings.model_copy(update={"ignore": tuple(each.column for each in left_out)})
    read = joined_runs(*tables, settings=settings)
    domains = sorted({domain for run in read.runs for domain in run.mixture.weights})
    targets = list(read.runs[0].losses)
    if target is not None and target not in targets:
        raise StudyError(f"no target {target!r}", where="--target", remedy=f"choose one of {', '.join(targets)}")
    content: dict[str, Any] = {
        "name": path.stem.lower().replace("-", "_"),
        "description": f"What do {len(read.runs)} imported runs say of the best mixture?",
        "domains": _natural(read.runs, domains) if available is None else _available(available, domains),
        "targets": {name: {"weight": 1 if target in (None, name) else 0} for name in targets},
        "imports": [_entry(mixtures, losses, path, settings)],
        **({} if size is None else {"imported_size": size}),
        "mixtures": {"count": 0, "anchors": {"natural": False}},
    }
    head = _HEAD + ("" if available is not None else _OF_MEANS)
    with written_atomically(path) as temporary:
        temporary.write_text(head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    try:
        study = load_study(path)
        notes = notes_of(study, read, settings)
    except RegmixError:
        path.unlink()
        raise
    return TakenRuns(read.runs, left_out, columns_named(settings.columns), notes)


def add_to_study(path: Path, mixtures: Path, losses: Path, *, settings: RunTableSettings | None = None) -> TakenRuns:
    """Add two tables to a study file's ``imports``, keeping its text and comments.

    Args:
        settings: how the tables are read; its ``ignore`` are columns to leave out.

    Raises:
        RegressionError: the tables are not sound, or a column is not one of the study's domains or targets.
        StudyError: the study file is wrong, or its imports are written in a form that cannot be added to.
    """
    study = load_study(path)
    tables, settings = (read_table(mixtures), read_table(losses)), settings or RunTableSettings()
    left_out = [LeftOut(column, "asked for") for column in settings.ignore]
    settings = _with_facts(settings, tables, [*study.domains, *study.targets])
    read = joined_runs(*tables, list(study.domains), list(study.targets), settings)
    entry = _entry(mixtures, losses, path, settings)
    taken = TakenRuns(read.runs, left_out, columns_named(settings.columns), notes_of(study, read, settings))
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    if entry in (written.get("imports") or []):
        return taken
    wanted = written | {"imports": [entry, *(written.get("imports") or [])]}
    for text in _with_entry(path.read_text(encoding="utf-8"), entry, wanted):
        # Only what reads as the same study with one entry more takes the place of the file.
        if _read(text) == wanted:
            with written_atomically(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
                try:
                    load_study(temporary)
                except StudyError as error:
                    where = error.where.replace(str(temporary), str(path))
                    raise StudyError(error.problem, where=where, remedy=error.remedy) from error
            return taken
    raise StudyError(
        "the file is written in a form that nothing can be added to",
        where=str(path),
        remedy=f"add this to its imports by hand: {_flow(entry)}",
    )


def _with_facts(settings: RunTableSettings, tables: Sequence[RunTable], taken: Collection[str]) -> RunTableSettings:
    """The settings with the columns that say how runs were trained, where they name none themselves."""
    if settings.columns != RunColumns():
        return settings
    return settings.model_copy(update={"columns": fact_columns(tables, {*settings.ignore, *taken})})


def _natural(runs: Sequence[ImportedRun], domains: Sequence[str]) -> dict[str, dict[str, float]]:
    means = np.mean([run.mixture.vector(domains) for run in runs], axis=0)
    return {name: {"prior": round(float(mean), 6)} for name, mean in zip(domains, means, strict=True)}


def _available(path: Path, domains: Sequence[str]) -> dict[str, dict[str, int]]:
    """Domain -> its available tokens, from a table of both."""
    table = read_table(path)
    wanted = ("domain", "available_tokens")
    if not set(wanted) <= set(table.columns):
        raise RegressionError(
            f"has the columns {', '.join(table.columns)}",
            where=f"{path}:1",
            remedy="give a row per domain with the columns domain and available_tokens",
        )
    found: dict[str, int] = {}
    for line, row in table.rows.items():
        name = domain_name(row["domain"]) if row["domain"] else ""
        tokens = amount_of(row["available_tokens"], "available_tokens", f"{path}:{line}")
        if name not in domains or name in found or not tokens:
            raise RegressionError(
                f"{row['domain']!r} appears twice"
                if name in found
                else f"{row['domain']!r} has no tokens"
                if name in domains
                else f"{row['domain']!r} is not a domain of the runs",
                where=f"{path}:{line}",
                remedy=f"give one row, with tokens above 0, to each of {', '.join(domains)}",
            )
        found[name] = tokens
    missing = [name for name in domains if name not in found]
    if missing:
        raise RegressionError(f"no row for {missing[0]!r}", where=str(path), remedy="give every domain its tokens")
    return {name: {"available_tokens": found[name]} for name in domains}


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


def _entry(mixtures: Path, losses: Path, study: Path, settings: RunTableSettings) -> dict[str, Any]:
    folder = study.resolve().parent
    entry = {
        "mixtures": os.path.relpath(mixtures.resolve(), folder),
        "losses": os.path.relpath(losses.resolve(), folder),
    }
    return entry | settings.model_dump(mode="json", exclude_defaults=True)


def _flow(entry: Mapping[str, Any]) -> str:
    return yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True).strip()
