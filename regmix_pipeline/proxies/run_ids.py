"""What names the run of each row, and the joining of two tables by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.proxies.run_files import UNNAMED, RunTable
from regmix_pipeline.proxies.table_columns import DECIMAL, SUMMARY

IDS = ("run", "index")
"""Columns that identify a run, the better one first."""
OTHER_IDS = ("run_id", "id", "run_name", "name")
"""Columns that do where there is none of `IDS`, in any case of letters: `id` may be a language."""


def key_of(mixtures: RunTable, losses: RunTable) -> str:
    """The column by which both tables name runs.

    A column without a name, as pandas writes a frame's index, counts where its values are names. Where they are 0, 1,
    2, ... they number rows, and joining by them would join by order.

    Raises:
        RegressionError: there is none.
    """
    shared = [name for name in mixtures.columns if name in losses.columns]
    for wanted in IDS:
        if wanted in shared:
            return wanted
    for wanted in OTHER_IDS:
        for name in shared:
            if name.lower() == wanted:
                return name
    if not mixtures.index or not losses.index:
        unnamed = next((table for table in (mixtures, losses) if table.index), None)
        raise RegressionError(
            "the two tables share no id column",
            where=f"{mixtures.path} and {losses.path}",
            remedy="both need a column `run` or `index` that names the run of each row"
            + (f"; {unnamed.path} has an index without a name: call it as the other table does" if unnamed else ""),
        )
    for table in (mixtures, losses):
        if table.index == [str(number) for number in range(len(table.rows))]:
            raise RegressionError(
                "only a column without a name could name runs, and it numbers rows: rows are joined by id, never by "
                "order",
                where=f"{table.path}:1",
                remedy="write a column `run` into both tables; if these numbers do name the runs, call the column "
                "`run`, as by to_csv(index_label='run')",
            )
    return UNNAMED


def lines_of(table: RunTable, key: str, step: str | None, columns: Sequence[str]) -> dict[str, int]:
    """Run -> its line; of several lines, as in a history, the last step's that holds one of ``columns``.

    Raises:
        RegressionError: an id is empty or appears twice without steps that tell the rows apart.
    """
    found: dict[str, int] = {}
    for line, row in table.rows.items():
        run = row[key]
        if not run:
            raise RegressionError(
                "the run has no name" if key == UNNAMED else f"the {key} is empty",
                where=f"{table.path}:{line}",
                remedy="name the run",
            )
        if run.lower() in SUMMARY:
            raise RegressionError(
                f"row {run!r} is not a run but sums up others", where=f"{table.path}:{line}", remedy="remove the row"
            )
        if run not in found:
            found[run] = line
        elif step is None or step not in table.columns:
            raise RegressionError(
                f"{key or 'run'} {run!r} appears twice, first in line {found[run]}",
                where=f"{table.path}:{line}",
                remedy="keep one row per run, or give a column of steps: then the last step counts",
            )
        elif any(row[column] for column in columns) and _later(table, line, found[run], step, columns):
            found[run] = line
    return found


def _later(table: RunTable, line: int, than: int, step: str, columns: Sequence[str]) -> bool:
    """Whether a row is of a later step than another of its run, or holds values where that holds none."""
    steps = []
    for at in (line, than):
        text = table.rows[at][step]
        if not DECIMAL.fullmatch(text):
            raise RegressionError(
                f"column {step!r} holds {text!r}, not a step, and the run has several rows",
                where=f"{table.path}:{at}",
                remedy="give each row its step, or keep one row per run",
            )
        steps.append(float(text))
    if not any(table.rows[than][column] for column in columns):
        return True
    if steps[0] == steps[1]:
        raise RegressionError(
            f"the run has losses at step {table.rows[line][step]} twice, first in line {than}",
            where=f"{table.path}:{line}",
            remedy="keep one row per run and step",
        )
    return steps[0] > steps[1]


def check_joined(
    mixtures: RunTable,
    losses: RunTable,
    weight_lines: Mapping[str, int],
    value_lines: Mapping[str, int],
    key: str,
    partial: str,
) -> dict[str, str]:
    """Runs that have weights and no losses, each with that reason, where runs may be partial.

    Raises:
        RegressionError: a run is in one table alone.
    """
    for one, other, lines, others in (
        (mixtures, losses, weight_lines, value_lines),
        (losses, mixtures, value_lines, weight_lines),
    ):
        lonely = [run for run in lines if run not in others]
        if not lonely or (one is mixtures and partial == "leave_out" and len(lonely) < len(lines)):
            continue
        raise RegressionError(
            f"{len(lonely)} runs have no row in {other.path}, first {key or 'run'} {lonely[0]!r}"
            + _alike(lonely[0], others),
            where=str(one.path),
            remedy="give both files the same runs; rows are joined by id, never by order"
            + ("; regmix import-runs --partial leave_out leaves out runs without losses" if one is mixtures else ""),
        )
    return {run: f"it has no row in {losses.path.name}" for run in weight_lines if run not in value_lines}


def _alike(run: str, others: Mapping[str, int]) -> str:
    """What to say where another table seems to mean the same run by another text."""
    if not DECIMAL.fullmatch(run):
        return ""
    same = next((each for each in others if DECIMAL.fullmatch(each) and float(each) == float(run)), None)
    if same is None:
        return ""
    return f"; there it is {same!r}: ids are text, so write them alike, with their leading zeros and without decimals"
