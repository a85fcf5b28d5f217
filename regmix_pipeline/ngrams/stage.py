"""Stage of the n-gram models: the probabilities that counts of each domain's text give the targets' tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.ngrams.counts import Numbers, probabilities
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.spec import TASK, TokenFile
from regmix_pipeline.proxies.tasks import split_file, target_files, training_files
from regmix_pipeline.proxies.windows import Windows
from regmix_pipeline.tokens.stage import TOKEN_SHARDS, current_manifest
from regmix_pipeline.tokens.task_items import read_items

CODE_VERSION = "1"
NAME = "ngram_models"
PIECE = 64
"""Tokens of a piece of a target's text that are predicted."""
SAMPLE = 4096
"""Tokens of a target that are predicted at most."""
COUNTED = 20_000_000
"""Tokens of a domain that are counted at most."""


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    study = workspace.study
    if not counts_ngrams(workspace):
        return {}
    settings = {
        "domains": workspace.domains,
        "targets": workspace.targets,
        "context": study.proxies.model_settings.context,
        "windows": study.proxies.evaluation.windows,
        "code": CODE_VERSION,
    }
    return {UNPARTITIONED: Recipe(workspace.versions(TOKEN_SHARDS.name, list(study.sources)), settings)}


def counts_ngrams(workspace: Workspace) -> bool:
    """Whether the study has text to count, and a regressor that may use it."""
    return workspace.study.counts_ngrams


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    context = workspace.study.proxies.model_settings.context
    measured = workspace.study.proxies.evaluation.windows
    samples = {
        name: sample_of_task(file) if file.kind == TASK else sample(file, context, measured)
        for name, file in target_files(workspace).items()
    }
    asked = fingerprint("samples", {name: windows.tolist() for name, windows in samples.items()}, CODE_VERSION)
    known, rows, files = _known(workspace), [], []
    vocabulary = current_manifest(workspace, workspace.domains[0]).vocabulary
    training = training_files(workspace)
    progress = Progress(NAME, len(training), workspace.say, what="domains counted")
    for name, file in training.items():
        key = fingerprint("counts", name, file.version, asked)
        path = workspace.path("ngrams", f"{key}.parquet")
        row = known.get(key) if path.is_file() else None
        if row is None:
            held_out = sample(split_file(workspace, name, "validation")[0], context, measured)
            text = Windows(file, context).tokens
            tables, k, counted = probabilities(text, samples, held_out, vocabulary, COUNTED)
            NgramEvidence((name,), {target: table[:, None] for target, table in tables.items()}).save(path)
            row = {"domain": name, "key": key, "smoothing": k, "counted": counted, "file": workspace.name_of(path)}
        rows.append(row)
        files.append(path)
        progress.advance(note=name)
    version = fingerprint("n-gram models", recipes[UNPARTITIONED].id)
    index = workspace.write_json({"domains": rows, "targets": workspace.targets}, "ngrams", f"{version}.json")
    facts: dict[str, Any] = {
        "tokens counted": {row["domain"]: row["counted"] for row in rows},
        "tokens predicted": {name: windows[:, 1:].size for name, windows in samples.items()},
        "smoothing": {row["domain"]: row["smoothing"] for row in rows},
    }
    yield Output(UNPARTITIONED, version, facts, [index, *files])


def _known(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """What was counted before, by what it was counted of: text that stays is not counted again."""
    if workspace.records.current(NAME) is None:
        return {}
    try:
        record = workspace.need(NAME)
        rows = workspace.json(NAME)["domains"]
        for row in rows:
            workspace.unaltered(record, row["file"])
    except LedgerError:  # altered: all is counted again
        return {}
    return {row["key"]: row for row in rows}


def sample(file: TokenFile, context: int, measured: int) -> Numbers:
    """Pieces of a validation split, evenly spaced, (pieces, at most PIECE + 1).

    They lie outside the ``measured`` windows that losses are measured on, unless there are no others.
    """
    windows = Windows(file, context)
    free = np.setdiff1d(np.arange(windows.count), windows.evenly_spaced(measured))
    if not len(free):
        free = np.arange(windows.count)
    length = min(context, PIECE)
    each = context // length
    number = len(free) * each
    kept = min(max(SAMPLE // length, 1), number)
    places = ((2 * np.arange(kept) + 1) * number) // (2 * kept)
    starts = free[places // each] * context + places % each * length
    return np.stack([windows.tokens[start : start + length + 1] for start in starts]).astype(np.int64)


def sample_of_task(file: TokenFile) -> Numbers:
    """Tokens of right continuations, each with the token before it, (at most SAMPLE, 2): of evenly spaced items.

    All items may be measured, so they are the measured ones.
    """
    pairs = [
        np.stack([right.tokens[-right.asked - 1 : -1], right.tokens[-right.asked :]], axis=1)
        for right in (item.right for item in read_items(file.path))
    ]
    most = max(1, SAMPLE * len(pairs) // max(sum(map(len, pairs)), 1))
    kept = min(most, len(pairs))
    return np.concatenate([pairs[(2 * n + 1) * len(pairs) // (2 * kept)] for n in range(kept)])[:SAMPLE]


def ngram_evidence(workspace: Workspace) -> NgramEvidence | None:
    """What the counts say of this study's mixtures; None where nothing was counted."""
    if not counts_ngrams(workspace):
        return None
    record, index = workspace.need(NAME), workspace.json(NAME)
    return NgramEvidence.load(*(workspace.unaltered(record, row["file"]) for row in index["domains"]))


NGRAM_MODELS = Stage(
    NAME,
    (TOKEN_SHARDS.name,),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("ngrams",),
    kinds=("numpy",),
    group="decision",
    description="What counts of each domain's bigrams make of the targets' text: a loss for every mixture, untrained.",
)
