"""Runs trained elsewhere: a table of mixtures and a table of losses, joined by id or refused.

Two layouts are read as they are. RegMix's: a column ``index``, then ``train_<domain>`` weights in one file and
``metric/<target>_val_loss`` losses in the other. olmix's: ``run``, ``name`` and ``index``, then domains in ratios.csv
and metrics in metrics.csv. A tracker's export, one table with everything, is read where patterns say which columns are
weights and which losses. Rows are joined by `run_ids.key_of`, never by their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.run_facts import RunFacts, facts_of, partial_runs
from regmix_pipeline.proxies.run_files import RunTable, read_table
from regmix_pipeline.proxies.run_ids import check_joined, key_of, lines_of
from regmix_pipeline.proxies.run_names import names_of
from regmix_pipeline.proxies.table_columns import DECIMAL
from regmix_pipeline.study.settings.imports import RunTableSettings

LOWEST_SUM, HIGHEST_SUM = 0.98, 1.02
"""What rounding may do to a row's sum. RegMix's own published rows lie between .996 and 1.003."""
PERCENT = 100.0
HIGHEST_LOSS = 1000.0
"""Nats a token. A guess among a million tokens has 13.8: what is far above is not a loss, or its run diverged."""
MISSING = ("", "nan", "none", "null", "n/a")
"""What tables write where a run has no loss, in lower case."""


@dataclass(frozen=True)
class ImportedRun:
    """A run trained elsewhere.

    Attributes:
        id: the run's own id.
        mixture: its weights, normalised.
        losses: target -> loss.
        tokens: tokens it was trained on; None where nobody said.
        parameters: of its model; None where nobody said.
        seed: of weights and order; None where nobody said.
    """

    id: str
    mixture: Mixture
    losses: dict[str, float]
    tokens: int | None = None
    parameters: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class RunsRead:
    """Runs of two tables.

    Attributes:
        runs: those that are taken.
        partial: run -> why it is partial; whether these are among ``runs`` is as the settings say.
        percent: whether the table's weights are percentages.
    """

    runs: list[ImportedRun]
    partial: dict[str, str] = field(default_factory=dict)
    percent: bool = False


def read_runs(
    mixtures: Path,
    losses: Path,
    domains: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    settings: RunTableSettings | None = None,
) -> RunsRead:
    """Read, join and check two tables of runs.

    Args:
        mixtures: table of weights, a row per run.
        losses: table of losses, a row per run; may be the same file.
        domains: the study's domains; a column that is not one of them is refused. None takes every column.
        targets: the study's targets, all of which must be there; other columns are refused. None takes every column.
        settings: which columns are what, and what becomes of partial runs.

    Raises:
        RegressionError: naming file, line, column and remedy.
    """
    return joined_runs(read_table(mixtures), read_table(losses), domains, targets, settings)


def joined_runs(
    mixtures: RunTable,
    losses: RunTable,
    domains: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    settings: RunTableSettings | None = None,
) -> RunsRead:
    """As `read_runs`, of tables that were read."""
    settings = settings or RunTableSettings()
    if mixtures.path == losses.path and not (settings.domain_columns and settings.target_columns):
        raise RegressionError(
            "one table holds weights and losses, and nothing says which columns are which",
            where=f"{mixtures.path}:1",
            remedy="say it by --domains 'PATTERN' and --targets 'PATTERN', such as 'config.mix.*' and 'eval/*/loss'; "
            f"its columns are {', '.join(mixtures.columns)}",
        )
    key = key_of(mixtures, losses)
    weight_names = names_of(mixtures, "domain", domains, settings, key)
    value_names = names_of(losses, "target", targets, settings, key)
    step = settings.columns.step
    weight_lines = lines_of(mixtures, key, step, tuple(weight_names))
    value_lines = lines_of(losses, key, step, tuple(value_names))
    partial = check_joined(mixtures, losses, weight_lines, value_lines, key, settings.partial)
    both = [run for run in weight_lines if run in value_lines]
    facts = {run: facts_of(settings, [(losses, value_lines[run]), (mixtures, weight_lines[run])]) for run in both}
    lacking = {run: _missing(losses, value_lines[run], value_names) for run in both}
    partial |= {run: f"it has no {column!r}" for run, column in lacking.items() if column}
    # What lacks a loss says nothing of how long a complete run is.
    partial |= partial_runs({run: each for run, each in facts.items() if not lacking[run]}, settings.tokens)
    _refuse_partial(partial, facts, lacking, settings)
    taken = [run for run in both if settings.partial != "leave_out" or run not in partial]
    if not taken:
        raise RegressionError(
            f"all {len(partial)} runs are partial, first {next(iter(partial))!r}: {next(iter(partial.values()))}",
            where=str(losses.path),
            remedy="give complete runs",
        )
    weights, percent = mixtures_in(mixtures, {run: weight_lines[run] for run in taken}, weight_names)
    runs = [
        ImportedRun(
            run,
            weights[run],
            {name: _loss(losses, value_lines[run], column) for column, name in value_names.items()},
            facts[run].tokens,
            facts[run].parameters,
            facts[run].seed,
        )
        for run in taken
    ]
    return RunsRead(runs, partial, percent)


def _refuse_partial(
    partial: Mapping[str, str],
    facts: Mapping[str, RunFacts],
    lacking: Mapping[str, str],
    settings: RunTableSettings,
) -> None:
    """Raise where partial runs are not allowed; a loss that is not there has an error of its own, with its column."""
    found = {run: why for run, why in partial.items() if run in facts and not lacking[run]}
    if found and settings.partial == "refuse":
        run = next(iter(found))
        raise RegressionError(
            f"run {run!r} is partial: {found[run]}" + (f" ({len(found)} such runs)" if len(found) > 1 else ""),
            where=facts[run].where,
            remedy="finish it, or --partial leave_out to take the complete runs alone, or --partial keep to take all "
            "(partial in the study's imports)",
        )


def mixtures_in(table: RunTable, lines: Mapping[str, int], names: Mapping[str, str]) -> tuple[dict[str, Mixture], bool]:
    """Run -> its mixture, and whether the table's weights are percentages.

    Args:
        table: of weights.
        lines: run -> its line.
        names: column -> domain.

    Raises:
        RegressionError: a weight is not a number, or negative, or a row does not sum to 1.
    """
    weights = {run: _weights(table, line, names) for run, line in lines.items()}
    unit = _unit(table, weights, lines)
    return {run: Mixture.from_weights(row) for run, row in weights.items()}, unit == PERCENT


def _weights(table: RunTable, line: int, names: Mapping[str, str]) -> dict[str, float]:
    weights = {name: _number(table, line, column) for column, name in names.items()}
    negative = [name for name, weight in weights.items() if weight < 0]
    if negative:
        raise RegressionError(
            f"the weight of {negative[0]} is negative", where=f"{table.path}:{line}", remedy="weights are 0 or more"
        )
    return weights


def _unit(table: RunTable, weights: Mapping[str, Mapping[str, float]], lines: Mapping[str, int]) -> float:
    """What every row sums to but for rounding: 1, or 100 where the weights are percentages."""
    sums = {run: sum(row.values()) for run, row in weights.items()}
    unit = PERCENT if all(LOWEST_SUM * PERCENT <= each <= HIGHEST_SUM * PERCENT for each in sums.values()) else 1.0
    for run, total in sums.items():
        if not LOWEST_SUM * unit <= total <= HIGHEST_SUM * unit:
            raise RegressionError(
                f"the weights sum to {total:.4f}" if total < 1e6 else f"the weights sum to {total:.3g}",
                where=f"{table.path}:{lines[run]}",
                remedy=f"a row must sum to 1; {LOWEST_SUM} to {HIGHEST_SUM} is taken for rounding and normalised; "
                "percentages are read where every row sums to 100",
            )
    return unit


def _missing(table: RunTable, line: int, names: Mapping[str, str]) -> str:
    """The first column in which a run has no loss; "" where it has all."""
    return next((column for column in names if table.rows[line][column].lower() in MISSING), "")


def _loss(table: RunTable, line: int, column: str) -> float:
    value = _number(table, line, column)
    if not 0 < value <= HIGHEST_LOSS:
        raise RegressionError(
            f"column {column!r} holds {table.rows[line][column]}, which is not a loss in nats: "
            f"those are above 0 and at most {HIGHEST_LOSS:g}",
            where=f"{table.path}:{line}",
            remedy="drop the run, or give its loss",
        )
    return value


def _number(table: RunTable, line: int, column: str) -> float:
    text = table.rows[line][column]
    value = float(text) if DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(value):
        shown = repr(text) if text else "nothing"
        raise RegressionError(
            f"column {column!r} holds {shown}, not a number",
            where=f"{table.path}:{line}",
            remedy="leave the run out, as `regmix import-runs --partial leave_out` does, or write the number as in 3.14"
            if text.lower() in MISSING
            else "drop the run, or write the number as in 3.14 or 3.14e0",
        )
    return value
