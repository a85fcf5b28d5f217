"""Tables of runs that were trained elsewhere, and how they are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from regmix_pipeline.study.settings.base import Settings


class RunColumns(Settings):
    """Columns, of either table, that say how a run was trained. None: no column says it."""

    tokens: str | None = None
    """Tokens the run was trained on; `1e9` and `25B` are read."""
    parameters: str | None = None
    """The model's parameters; `60M` is read."""
    seed: str | None = None
    """Seed of weights and order. Runs of one mixture with several seeds give the noise floor, where the study trains no
    proxies of its own."""
    step: str | None = None
    """Optimiser steps taken. A run with several rows of losses, as in a tracker's history, is read at its last step."""
    state: str | None = None
    """How the run ended; any other than `finished`, `completed`, `done` or `success` is partial."""


class RunTableSettings(Settings):
    """How two tables of runs are read."""

    domain_columns: tuple[str, ...] = ()
    """Columns of weights, as patterns such as `train_*` or `config.mix.*`; the part that `*` stands for names the
    domain. Default: every column of the table of mixtures."""
    target_columns: tuple[str, ...] = ()
    """Columns of losses, as patterns such as `eval/*/loss`. Default: every column of the table of losses."""
    columns: RunColumns = RunColumns()
    """Columns that say how each run was trained."""
    tokens: int | None = Field(default=None, gt=0)
    """Tokens each of these runs was trained on, where no column says it. With them, the epochs that a run saw of each
    domain (weight x tokens / the domain's available tokens) are known to the regressors. Default: the runs repeated
    nothing."""
    parameters: int | None = Field(default=None, gt=0)
    """Parameters of these runs' models, where no column says it."""
    partial: Literal["refuse", "leave_out", "keep"] = "refuse"
    """What becomes of runs that lack a loss, did not finish, or have fewer steps or tokens than the longest of their
    size: an error; left out; or taken as they are, if they have their losses."""
    ignore: tuple[str, ...] = ()
    """Columns of either table that are neither domains nor targets, such as a tracker's step and time."""


class ImportedTables(RunTableSettings):
    """Runs trained elsewhere, as CSV, Parquet or JSON lines, joined by id."""

    mixtures: str
    """Table of weights, a row per run; a relative path starts at the study file's folder."""
    losses: str
    """Table of losses, a row per run; may be the same file."""
