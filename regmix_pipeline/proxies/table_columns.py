"""Which columns of runs trained elsewhere are no domains and no targets: what a tracker exports beside them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from regmix_pipeline.errors import RegressionError

TRACKED = re.compile(
    r"_.*|(train/|trainer/)?(global_)?(step|epoch|iteration|iter|seed|lr|learning_rate|grad_norm|runtime|timestamp|time"
    r"|wall_time|duration|created_at|tokens|num_tokens|tokens_seen|flops|batch_size|samples_per_second|steps_per_second)",
    re.IGNORECASE,
)
"""Columns that trackers of experiments write beside the losses."""
HIGHER_IS_BETTER = re.compile(
    r"(^|[^a-z])(acc|accuracy|acc_norm|f1|exact_match|em|bleu|rouge[a-z0-9]*|pass@\d+|win_rate|auc|mcc|score|reward|recall"
    r"|precision)([^a-z]|$)",
    re.IGNORECASE,
)
SUMMARY = {"mean", "average", "avg", "median", "std", "stdev", "min", "max", "sum", "total", "count", "all"}
"""Ids of rows that sum up other rows."""
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number as tables write it. Python's own reading would take ``3_5`` for 35, and digits of other scripts."""


@dataclass(frozen=True)
class LeftOut:
    """A column that is not taken, and why."""

    column: str
    why: str


def columns_left_out(
    columns: Mapping[str, Sequence[str]], what: str, keep: Collection[str], where: str
) -> list[LeftOut]:
    """Columns that look like no domain or target of their own.

    Args:
        columns: column -> its values as text, one a run.
        what: ``domain`` or ``target``.
        keep: columns that are taken whatever they look like.
        where: the file, for errors.

    Raises:
        RegressionError: a target looks like one that is better the higher it is, or two domains are the same.
    """
    found: list[LeftOut] = []
    seen: dict[tuple[float | str, ...], str] = {}
    for column, texts in columns.items():
        if column in keep:
            continue
        # By value: 0 and 0.0 are the same.
        values = tuple(float(text) if DECIMAL.fullmatch(text) else text for text in texts)
        same = seen.setdefault(values, column)
        if TRACKED.fullmatch(column):
            found.append(LeftOut(column, "a tracker's own column by its name"))
        elif not any(isinstance(value, float) for value in values):
            found.append(LeftOut(column, "without a number in any run"))
        elif len(values) > 1 and len(set(values)) == 1:
            found.append(LeftOut(column, f"{0 if values[0] == 0 else texts[0]} in every run"))
        elif same != column:
            if what == "domain":
                raise RegressionError(
                    f"columns {same!r} and {column!r} hold the same weights in every run",
                    where=f"{where}:1",
                    remedy="remove one, or join the two domains: their effects cannot be told apart",
                )
            found.append(LeftOut(column, f"the same as {same!r} in every run"))
        elif what == "target" and HIGHER_IS_BETTER.search(column):
            raise RegressionError(
                f"column {column!r} looks like a score that is better the higher it is; a target is a loss",
                where=f"{where}:1",
                remedy=f"give losses; leave it out by --ignore '{column}', or take it as a loss by --keep '{column}'",
            )
    if len(found) == len(columns):
        raise RegressionError(
            f"no column is left for a {what}: {', '.join(f'{each.column!r} is {each.why}' for each in found)}",
            where=f"{where}:1",
            remedy="take a column all the same by --keep NAME",
        )
    return found
