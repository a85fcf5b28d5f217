"""Stage of the text checks: what the tokenizer loses of each source, and what training text holds of the targets'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.readers import reader
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import LedgerError, TokenError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.progress import Progress
from regmix_pipeline.tokens.coverage import coverage_of, coverage_of_tokens
from regmix_pipeline.tokens.overlap import SplitText, TargetText, overlaps
from regmix_pipeline.tokens.stage import TOKEN_SHARDS, TOKENIZER, current_manifest, current_shard, current_tokenizer

CODE_VERSION = "1"
NAME = "text_checks"


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    study = workspace.study
    if not study.trains:
        return {}
    inputs = workspace.versions(DOMAINS.name) | workspace.versions(TOKENIZER.name)
    for asset in (DOCUMENTS.name, TOKEN_SHARDS.name):
        inputs |= workspace.versions(asset, list(study.sources))
    limits = study.text_checks
    settings = {
        "targets": workspace.targets,
        "refuse_overlap": limits.refuse_overlap,
        "refuse_lost": limits.refuse_lost,
        "code": CODE_VERSION,
    }
    return {UNPARTITIONED: Recipe(inputs, settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    known = _known(workspace)
    coverage, overlap = _coverage(workspace, known), _overlap(workspace, known)
    _refuse(workspace, coverage, overlap)
    version = fingerprint("text checks", recipes[UNPARTITIONED].id)
    path = workspace.write_json({"coverage": coverage, "overlap": overlap}, NAME, f"{version}.json")
    workspace.write_rows("tokenizer_coverage", version, coverage)
    workspace.write_rows("text_overlap", version, overlap)
    facts: dict[str, Any] = {
        "characters lost": {
            row["source"]: "not measured: tokens, no text" if row["lost"] is None else row["lost"] for row in coverage
        },
        "unknown tokens": {row["source"]: row["unknown"] for row in coverage},
    }
    for what, name in (("documents", "equal documents"), ("runs", "equal runs of tokens")):
        most = max(overlap, key=lambda row: row[what])
        facts[f"largest share of a target's text in {name}"] = most[what]
        facts[f"{name}: domain and target"] = f"{most['domain']}, {most['target']}"
    yield Output(UNPARTITIONED, version, facts, [path])


def _known(workspace: Workspace) -> dict[tuple[str, ...], dict[str, Any]]:
    """What was found before, by what it was found of: text that stays is not read again."""
    if workspace.records.current(NAME) is None:
        return {}
    try:
        found = workspace.json(NAME)
    except LedgerError:  # altered: all is read again
        return {}
    rows = [*found["coverage"], *found["overlap"]]
    return {_of(row): row for row in rows}


def _of(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("source", "domain", "target", "documents_version", "tokenizer", "shard_version", "target_version")
    return tuple(str(row.get(name, "")) for name in names)


def _coverage(workspace: Workspace, known: Mapping[tuple[str, ...], dict[str, Any]]) -> list[dict[str, Any]]:
    tokenizer = current_tokenizer(workspace)
    rows = []
    for name, (role, source) in workspace.study.sources.items():
        row: dict[str, Any] = {
            "source": name,
            "documents_version": workspace.need(DOCUMENTS.name, name).version,
            "tokenizer": tokenizer.version,
        }
        if _of(row) in known:
            rows.append(known[_of(row)])
            continue
        if source.tokens is not None:
            split = _split(workspace, name, "train" if role == "domain" else "validation")
            rows.append(row | asdict(coverage_of_tokens(split.values(), split.bytes, tokenizer.path)))
            continue
        documents = reader(source, workspace.base, workspace.data, workspace.say).run()
        rows.append(row | asdict(coverage_of((document.text for document in documents), tokenizer.path)))
    return rows


def _overlap(workspace: Workspace, known: Mapping[tuple[str, ...], dict[str, Any]]) -> list[dict[str, Any]]:
    domains, targets = [*workspace.domains], {}
    progress = Progress(NAME, len(domains), workspace.say, what="domains compared with the targets")
    rows = []
    for name in domains:
        own = {
            target: {
                "domain": name,
                "target": target,
                "shard_version": workspace.need(TOKEN_SHARDS.name, name).version,
                "target_version": workspace.need(TOKEN_SHARDS.name, target).version,
            }
            for target in workspace.targets
        }
        missing = [target for target, row in own.items() if _of(row) not in known]
        for target in missing:
            if target not in targets:
                targets[target] = TargetText.of(_split(workspace, target, "validation"), len(own))
        found = overlaps(_split(workspace, name, "train"), {each: targets[each] for each in missing}) if missing else {}
        rows += [row | asdict(found[target]) if target in found else known[_of(row)] for target, row in own.items()]
        progress.advance(note=name)
    return rows


def _split(workspace: Workspace, source: str, split: str) -> SplitText:
    manifest = current_manifest(workspace, source)
    held = manifest.splits[split]
    path = current_shard(workspace, source) / held.file
    return SplitText(path, manifest.dtype, held.bytes, manifest.items is not None)


def _refuse(workspace: Workspace, coverage: list[dict[str, Any]], overlap: list[dict[str, Any]]) -> None:
    """Raise TokenError where shares are above the study's limits."""
    limits = workspace.study.text_checks
    for row in coverage:
        lost = row["lost"] or 0.0
        if max(lost, row["unknown"]) > limits.refuse_lost:
            raise TokenError(
                f"the tokenizer loses {lost:.0%} of the characters of {row['source']}, and {row['unknown']:.0%} "
                "of its tokens stand for the unknown: no loss measures what is lost",
                where=row["source"],
                remedy="give a tokenizer that knows this text, or train one; to go on all the same, set "
                "text_checks.refuse_lost: 1",
            )
    for row in overlap:
        if row["documents"] > limits.refuse_overlap:
            raise TokenError(
                f"{row['documents']:.0%} of the text of target {row['target']} is also in the training text of "
                f"{row['domain']}: a loss on it would measure what was memorised",
                where=row["domain"],
                remedy="take this text out of one of them; to go on all the same, set text_checks.refuse_overlap: 1",
            )


TEXT_CHECKS = Stage(
    NAME,
    (DOMAINS.name, DOCUMENTS.name, TOKENIZER.name, TOKEN_SHARDS.name),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=(NAME,),
    kinds=("python", "duckdb"),
    group="data",
    description="What the tokenizer loses of every source, and how much of the targets' text is trained on.",
)
