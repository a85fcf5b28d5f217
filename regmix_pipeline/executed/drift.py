"""Which sources a run drew otherwise than planned, and from when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.executed.catalogue import RUN_LOGS
from regmix_pipeline.executed.log import Executed, Options, RunLog
from regmix_pipeline.executed.planned import Planned

ERRORS = 4.0
"""Standard errors of a random draw of sequences that are allowed besides the tolerance."""


@dataclass(frozen=True)
class SourceRun:
    """A source in a run.

    Attributes:
        domain: the source.
        planned: share of the tokens.
        executed: share of the tokens so far.
        tokens: drawn so far.
        drifted: whether more or fewer than planned were drawn than the tolerance allows, at the end or before.
        from_step: last step that was as planned; None without drift, and where nobody counts steps.
        from_tokens: tokens of the run then; None without drift.
        share_since: share of the tokens since then; None without drift.
        epochs: tokens drawn / tokens available; None where nobody knows.
        repeated: whether that is more often than the plan allows.
    """

    domain: str
    planned: float
    executed: float
    tokens: int
    drifted: bool
    from_step: int | None
    from_tokens: int | None
    share_since: float | None
    epochs: float | None
    repeated: bool


@dataclass(frozen=True)
class RunCheck:
    """A run, or a phase of one, beside its plan.

    Attributes:
        decision: name of what was planned.
        tokens: drawn.
        said: how the log was read.
        sources: each beside its plan.
        phase: that was planned; "" for a run of one.
    """

    decision: str
    tokens: int
    said: str
    sources: tuple[SourceRun, ...]
    phase: str = ""

    @property
    def on_plan(self) -> bool:
        """Whether no source drifted or was repeated too often."""
        return not any(source.drifted or source.repeated for source in self.sources)

    def as_json(self) -> dict[str, Any]:
        """The answer of `regmix verify-run --json`."""
        return asdict(self) | {"on_plan": self.on_plan}


def verify_run(
    paths: Sequence[Path], planned: Planned, options: Options, kind: str | None = None, tolerance: float = 0.01
) -> RunCheck:
    """A run's log or states beside its plan.

    Args:
        paths: files in the order of the run.
        planned: the plan.
        options: what the user says of the log.
        kind: one of `RUN_LOGS`; None for the first that fits.
        tolerance: share of the run's tokens that a source may have more or fewer than planned.

    Raises:
        StudyError: the log cannot be read, or has a source that the plan has not.
    """
    executed = _read(paths, planned, options, kind)
    readings = executed.readings.select(list(planned.shares)).to_numpy().astype(float)
    if (np.diff(readings, axis=0, prepend=0) < 0).any():
        raise StudyError(
            "the totals of a source fall",
            where=", ".join(map(str, paths)),
            remedy="give the files in the order of the run, and --per-step if the numbers are of each step",
        )
    total = readings.sum(axis=1)
    sources = [
        _source(domain, readings[:, j], total, executed, planned, tolerance) for j, domain in enumerate(planned.shares)
    ]
    return RunCheck(planned.name, int(total[-1]), executed.said, tuple(sources), planned.phase)


def _read(paths: Sequence[Path], planned: Planned, options: Options, kind: str | None) -> Executed:
    import polars as pl

    try:
        return _kind_of(paths, kind).read(paths, planned, options)
    except (pl.exceptions.PolarsError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise StudyError(
            f"does not hold what such a log does: {what}",
            where=", ".join(map(str, paths)),
            remedy=f"see docs/how-to-verify-a-run.md; --format says which of {', '.join(RUN_LOGS)} it is",
        ) from error


def _kind_of(paths: Sequence[Path], kind: str | None) -> RunLog:
    first = _content(paths[0])
    if kind is not None:
        return RUN_LOGS.find(kind, f"--format {kind}")
    found = next((RUN_LOGS[name] for name in RUN_LOGS if RUN_LOGS[name].fits(paths[0], first)), None)
    if found is None:
        raise StudyError(
            "is no log that is known",
            where=str(paths[0]),
            remedy=f"give CSV, TSV, Parquet, JSON lines, or say which of {', '.join(RUN_LOGS)} it is by --format",
        )
    return found


def _content(path: Path) -> Any:
    """Content of a file in JSON; None for one that is none by its name."""
    remedy = "name a log or a state"
    try:
        with path.open("rb") as file:
            return json.loads(file.read().decode()) if path.suffix == ".json" else None
    except OSError as error:
        raise StudyError(f"cannot be read: {error.strerror}", where=str(path), remedy=remedy) from error
    except ValueError as error:
        raise StudyError(f"is not JSON: {error}", where=str(path), remedy=remedy) from error


def _source(
    domain: str,
    drawn: np.ndarray,
    total: np.ndarray,
    executed: Executed,
    planned: Planned,
    tolerance: float,
) -> SourceRun:
    share, end = planned.shares[domain], total[-1]
    excess = drawn - share * total
    noise = ERRORS * np.sqrt(share * (1 - share) * end * (executed.sequence or 0))
    drifted = bool(np.abs(excess).max() > tolerance * end + noise)
    # A constant rate changed where the excess is farthest from the straight line to its end (Hinkley 1971).
    bent = np.abs(np.concatenate([[0.0], excess - excess[-1] * total / end]))
    at = int(bent.argmax()) if bent.max() > noise + 0.1 * tolerance * end else 0
    before = (0.0, 0.0) if at == 0 else (drawn[at - 1], total[at - 1])
    step = None if at == 0 else executed.readings["step"][at - 1]
    since = (drawn[-1] - before[0]) / max(end - before[1], 1)
    available = planned.available.get(domain)
    epochs = None if available is None else float((planned.before.get(domain, 0) + drawn[-1]) / available)
    return SourceRun(
        domain,
        share,
        float(drawn[-1] / end),
        int(drawn[-1]),
        drifted,
        (0 if at == 0 and executed.readings["step"].null_count() == 0 else step) if drifted else None,
        int(before[1]) if drifted else None,
        float(since) if drifted else None,
        epochs,
        epochs is not None and epochs > planned.max_epochs * (1 + 1e-9),
    )
