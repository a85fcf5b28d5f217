"""The checks that `regmix run`, `refit`, `compare`, `plan` and `ui` make before they begin."""

from __future__ import annotations

import os

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.extras import require
from regmix_pipeline.proxies.imports import IMPORTED_RUNS, runs_in_tables, split_by_size
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.regression.validate import FEWEST_ROWS
from regmix_pipeline.study.settings.tokens import BYTES_AND_EOS
from regmix_pipeline.study_check.limits import check_limits
from regmix_pipeline.study_check.text import texts_of
from regmix_pipeline.tokens.stage import TOKENIZER
from regmix_pipeline.tokens.tokenizer import checked


def check_study(workspace: Workspace, *, elsewhere: bool = False) -> list[str]:
    """Whether the study can run, as far as that shows without fetching, tokenising or training anything.

    Looked at: the tokenizer's file, the addresses of all documents, the first document of each source that has no
    current shard, imported tables, the available tokens beside what the large run asks for, caps, floors and groups,
    and whether a small domain's validation split holds a window. Tokens that were not counted yet are estimated from
    bytes, and only what cannot be whatever the tokenizer is refused.

    Args:
        workspace: the study on disk.
        elsewhere: the study is planned for another machine: where none of its text is here, neither text nor tokenizer
            is looked for.

    Returns:
        What the user should know, one line each; nothing where all is well.

    Raises:
        RegmixError: the study cannot run, naming file or field, and the remedy.
    """
    study = workspace.study
    study.proxies.engine.overridden()
    study.shards.executor.overridden()
    _check_mixtures(workspace)
    if not elsewhere:
        _check_training(workspace)
    texts, lines = texts_of(workspace, elsewhere=elsewhere)
    away = elsewhere and study.trains and texts is None
    if away:
        lines.append("none of the text is here, so neither it nor the tokenizer was checked")
    else:
        _check_tokenizer(workspace)
    return [*lines, *check_limits(workspace, texts or {})]


def begin(workspace: Workspace) -> None:
    """`check_study`, with what the user should know said as the workspace says things.

    Raises:
        RegmixError: as `check_study`, or the home may not be written.
    """
    _check_writable(workspace)
    for line in check_study(workspace):
        workspace.say(f"warning: {line}")


def _check_writable(workspace: Workspace) -> None:
    """Raise where a run would fail halfway: a file of the home that is only read is seen too late."""
    home = next(folder for folder in (workspace.home, *workspace.home.parents) if folder.is_dir())
    for folder in (home, *(each for each in workspace.home.glob("*/") if each.is_dir())):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LedgerError(
                "may not be written by you",
                where=str(folder),
                remedy="ask for write permission, or give a home of your own with --home; "
                "`regmix status`, `audit`, `explain` and `diff` only read",
            )


def _check_mixtures(workspace: Workspace) -> None:
    """Imported tables are sound, and there will be enough mixtures to learn from: else all training would be wasted."""
    study = workspace.study
    imported = 0
    if workspace.stale(IMPORTED_RUNS) or not workspace.records.keys(REGRESSOR.name):
        runs = [run for read in runs_in_tables(workspace) for run in read.runs]
        imported = len(split_by_size(study, runs)[0])
    # What was trained or decided before is evidence as well, and is not counted here.
    if (
        workspace.records.keys(REGRESSOR.name)
        or next(workspace.home.glob("proxies/p*"), None)
        or study.watch is not None
    ):
        return
    anchors, drawn = study.mixtures.anchors, study.mixtures.count
    drawn += anchors.natural + anchors.uniform + anchors.single_domain * len(study.domains)
    if (found := drawn * study.trains + imported) < FEWEST_ROWS:
        raise StudyError(
            f"{found} mixtures, and no regressor learns from fewer than {FEWEST_ROWS}",
            where="mixtures.count" if study.trains else "imports",
            remedy=f"raise it by {FEWEST_ROWS - found} or more" if study.trains else "import more runs",
        )


def _check_training(workspace: Workspace) -> None:
    """What trains on this machine is installed; where proxies were trained already, a decision may need no more."""
    proxies = workspace.study.proxies
    if (
        workspace.study.trains
        and proxies.engine.overridden().kind == "local"
        and proxies.trainer is None
        and next(workspace.home.glob("proxies/p*"), None) is None
    ):
        require("torch", "proxies")


def _check_tokenizer(workspace: Workspace) -> None:
    settings, rows = workspace.study.tokenizer, workspace.study.proxies.vocabulary
    if settings is None:
        return
    if settings.train is not None:
        unknown = [name for name in settings.train.domains or () if name not in workspace.study.domains]
        if unknown and workspace.study.watch is None:
            raise StudyError(
                f"{unknown[0]} is not a domain of the study",
                where="tokenizer.train.domains",
                remedy=f"name domains of the study: {', '.join(workspace.domains)}",
            )
        _check_rows(rows, BYTES_AND_EOS)
    elif settings.hub is None and workspace.stale(TOKENIZER):
        _check_rows(rows, checked(workspace.base / str(settings.file), settings.eos_token).vocab_size)


def _check_rows(rows: int | None, least: int) -> None:
    if rows is not None and rows < least:
        raise StudyError(
            f"{rows} is less than the tokenizer's vocabulary of {least:,}",
            where="proxies.vocabulary",
            remedy=f"leave it out, or pad it to more than {least:,}",
        )
