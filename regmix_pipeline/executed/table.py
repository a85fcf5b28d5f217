"""A log as a table: CSV, Parquet, JSON lines or a list in JSON, with a row for each source or a column for each."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.executed.log import Executed, Options, RunLog, domain_of
from regmix_pipeline.executed.planned import Planned

if TYPE_CHECKING:
    import polars as pl

STEPS = ("step", "_step", "global_step", "iteration", "iter")
SOURCES = ("source", "dataset", "dataset_id", "dataset_name", "domain", "source_name")
TOKENS = ("tokens", "num_tokens", "token_count", "tokens_seen", "total_tokens", "cumulative_tokens")
PATTERNS = ("*", "tokens/*", "*/tokens", "tokens_*", "*_tokens", "tokens_seen/*", "*/tokens_seen", "*_tokens_seen")
"""Names of columns, the star being the source: the first under which two sources of the plan are found counts."""
_TOTALS = re.compile(r"seen|total|cumul|so_far|processed", re.IGNORECASE)
_SEPARATOR = {".csv": ",", ".tsv": "\t"}


def fits(path: Path, first: Any) -> bool:
    """A table by its name, or a list in JSON."""
    return path.suffix in (*_SEPARATOR, ".parquet", ".jsonl", ".ndjson") or isinstance(first, list)


def read(paths: Sequence[Path], planned: Planned, options: Options) -> Executed:
    """What the run drew. Rows that a resumed run logged again count once, as they were logged last."""
    import polars as pl

    frame, where = pl.concat([_frame(path) for path in paths], how="diagonal_relaxed"), ", ".join(map(str, paths))
    source = None if options.columns else next((name for name in SOURCES if name in frame.columns), None)
    column, blocks = (
        _by_rows(frame, source, planned, options, where) if source else _by_columns(frame, planned, options, where)
    )
    absent = [pl.lit(0.0).alias(domain) for domain in planned.shares if domain not in blocks.columns]
    blocks = _last_logged(blocks.with_columns(absent))
    counts = blocks.select(list(planned.shares)).fill_null(0)
    if counts.is_empty() or counts.sum_horizontal().sum() == 0:
        raise StudyError("counts no token of any source", where=where, remedy="give the log of a run")
    totals_given = _cumulative(counts, column, options, where)
    totals = counts if totals_given else counts.select(pl.all().cum_sum())
    said = f"read {'totals since the start' if totals_given else 'tokens of each step'} from {column!r}"
    whole = totals.select(pl.all().round().cast(pl.Int64))
    return Executed(blocks.select("step").hstack(whole), said, options.sequence)


def _by_rows(
    frame: pl.DataFrame, source: str, planned: Planned, options: Options, where: str
) -> tuple[str, pl.DataFrame]:
    """Column of the tokens, and a row a reading, of a table with a row for each source."""
    import polars as pl

    column = next((name for name in TOKENS if name in frame.columns), None)
    if column is None:
        raise StudyError(
            f"has the column {source!r}, and none of tokens", where=where, remedy=f"call it {', '.join(TOKENS)}"
        )
    called = frame[source].cast(pl.String)
    domains = {name: domain_of(name, planned, options, where) for name in called.unique().to_list()}
    rows = frame.select(
        _step(frame), called.replace_strict(domains).alias("domain"), pl.col(column).cast(pl.Float64).alias("tokens")
    )
    return column, _blocks(rows).pivot("domain", index=["block", "step"], values="tokens", aggregate_function="sum")


def _by_columns(frame: pl.DataFrame, planned: Planned, options: Options, where: str) -> tuple[str, pl.DataFrame]:
    """One of the columns of tokens, and a row a reading, of a table with a column for each source."""
    import polars as pl

    found = _columns(frame.columns, planned, options, where)
    sums = [
        pl.sum_horizontal(pl.col(column).cast(pl.Float64) for column, of in found.items() if of == domain).alias(domain)
        for domain in dict.fromkeys(found.values())
    ]
    logged = frame.filter(pl.any_horizontal(pl.col(column).is_not_null() for column in found))
    rows = _blocks(logged.select(_step(frame), *sums))
    return next(iter(found)), rows.group_by("block", "step", maintain_order=True).agg(pl.all().sum())


def _frame(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        if path.suffix in _SEPARATOR:
            return pl.read_csv(path, separator=_SEPARATOR[path.suffix], infer_schema_length=None)
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
        return pl.json_normalize(rows, separator="/", infer_schema_length=None)
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(
            f"is not a table: {what}", where=str(path), remedy="give CSV, Parquet or JSON lines"
        ) from error


def _step(frame: pl.DataFrame) -> pl.Expr:
    import polars as pl

    name = next((name for name in STEPS if name in frame.columns), None)
    return (pl.lit(None) if name is None else pl.col(name)).cast(pl.Int64).alias("step")


def _columns(columns: Sequence[str], planned: Planned, options: Options, where: str) -> dict[str, str]:
    """Column -> its domain. What such a pattern as ``tokens/*`` names besides the plan's sources is an error."""
    for pattern in [options.columns] if options.columns else PATTERNS:
        before, _, after = pattern.partition("*")
        inside = re.compile(f"{re.escape(before)}(.+){re.escape(after)}")
        names = {column: match[1] for column in columns if (match := inside.fullmatch(column))}
        known = {column: name for column, name in names.items() if name in planned.shares or name in options.names}
        if options.columns or len(known) >= min(2, len(planned.shares)):
            taken = names if options.columns or "/" in pattern else known
            return {column: domain_of(name, planned, options, where) for column, name in taken.items()}
    raise StudyError(
        f"has no column of tokens for the plan's sources {', '.join(planned.shares)}",
        where=where,
        remedy="say how they are called, the star being the source: --columns 'data/*/tokens'",
    )


def _blocks(frame: pl.DataFrame) -> pl.DataFrame:
    """A number for each run of rows of one step: rows of one reading, of ranks or sources, are summed."""
    import polars as pl

    new = pl.col("step").ne_missing(pl.col("step").shift(1)) | pl.col("step").is_null()
    return frame.with_columns(new.fill_null(True).cum_sum().alias("block"))


def _last_logged(wide: pl.DataFrame) -> pl.DataFrame:
    """Readings without those that a resumed run took again: a step at or after one that comes later is left out."""
    import polars as pl

    later = pl.col("step").reverse().cum_min().reverse().shift(-1)
    return wide.filter(pl.col("step").is_null() | later.is_null() | (pl.col("step") < later))


def _cumulative(counts: pl.DataFrame, column: str, options: Options, where: str) -> bool:
    if options.cumulative is not None:
        return options.cumulative
    if _TOTALS.search(column):
        return True
    rises = all(bool((each.diff().drop_nulls() >= 0).all()) for each in counts.iter_columns())
    total = counts.sum_horizontal()
    if rises and len(total) > 2 and total[-1] > total[0]:
        raise StudyError(
            f"the numbers of {column!r} and the like never fall: are they totals since the start?",
            where=where,
            remedy="give --cumulative if they are, --per-step if not",
        )
    return False


TABLE = RunLog(fits, read)
