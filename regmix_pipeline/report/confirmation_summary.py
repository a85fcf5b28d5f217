"""What the confirmation says: did larger models keep the order the proxies predicted?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from regmix_pipeline.numbers import decimals, listed
from regmix_pipeline.report.data import Measured

COMPARED = ("chosen", "natural", "uniform")
"""The mixtures larger models are trained on, in the order they are shown."""


@dataclass(frozen=True)
class Cell:
    """A mixture's losses on a target: predicted for proxies, and measured on larger models, one value a seed."""

    predicted: float | None
    measured: tuple[float, ...]
    standard_error: float | None

    @property
    def mean(self) -> float:
        """Mean over seeds, nats per token."""
        return mean(self.measured)

    @property
    def error(self) -> float | None:
        """Standard error of the mean over seeds; None with one seed."""
        return stdev(self.measured) / math.sqrt(len(self.measured)) if len(self.measured) > 1 else None


@dataclass(frozen=True)
class TargetResult:
    """One target of the confirmation.

    Attributes:
        cells: name of the mixture -> its losses.
        predicted_order: names from the lowest predicted loss up; empty when a prediction is missing.
        measured_order: names from the lowest measured mean up.
    """

    target: str
    cells: Mapping[str, Cell]
    predicted_order: tuple[str, ...]
    measured_order: tuple[str, ...]

    @property
    def held(self) -> bool | None:
        """Whether the measured order is the predicted one."""
        return self.predicted_order == self.measured_order if self.predicted_order else None

    @property
    def measured_gain(self) -> float | None:
        """Natural minus chosen, mean over seeds, nats per token; positive: chosen is better."""
        if not {"chosen", "natural"} <= set(self.cells):
            return None
        return self.cells["natural"].mean - self.cells["chosen"].mean

    @property
    def predicted_gain(self) -> float | None:
        """Natural minus chosen as predicted for proxies."""
        chosen, natural = (self.cells[name].predicted if name in self.cells else None for name in ("chosen", "natural"))
        return None if chosen is None or natural is None else natural - chosen


@dataclass(frozen=True)
class ConfirmationSummary:
    """The confirmation of the objective in words.

    Attributes:
        outcome: held: every seed of chosen beat every seed of natural; against: every one lost;
            unclear: the seeds overlap.
        headline: a few words.
        sentences: the plain result.
    """

    outcome: Literal["held", "against", "unclear"]
    headline: str
    sentences: tuple[str, ...]


def by_target(rows: Sequence[Measured]) -> dict[str, TargetResult]:
    """The confirmation's rows gathered by target."""
    gathered: dict[str, dict[str, list[Measured]]] = {}
    for row in rows:
        gathered.setdefault(row.target, {}).setdefault(row.name, []).append(row)
    results = {}
    for target, names in gathered.items():
        cells = {name: _cell(names[name]) for name in COMPARED if name in names}
        known = {name: cell.predicted for name, cell in cells.items() if cell.predicted is not None}
        predicted = tuple(sorted(known, key=known.__getitem__)) if len(known) == len(cells) else ()
        measured = tuple(sorted(cells, key=lambda name: cells[name].mean))
        results[target] = TargetResult(target, cells, predicted, measured)
    return results


def _cell(rows: Sequence[Measured]) -> Cell:
    errors = [row.standard_error for row in rows if row.standard_error is not None]
    return Cell(rows[0].predicted, tuple(row.loss for row in rows), mean(errors) if errors else None)


def confirmation_summary(objective: TargetResult, label: str) -> ConfirmationSummary | None:
    """The result on the objective; None when chosen or natural was not trained."""
    gain = objective.measured_gain
    if gain is None:
        return None
    chosen, natural = objective.cells["chosen"], objective.cells["natural"]
    if max(chosen.measured) < min(natural.measured):
        outcome, headline = "held", "Larger models agree: chosen beat natural"
    elif min(chosen.measured) > max(natural.measured):
        outcome, headline = "against", "Larger models disagree: chosen lost to natural"
    else:
        outcome, headline = "unclear", "Larger models do not settle it: the seeds overlap"
    return ConfirmationSummary(outcome, headline, tuple(_sentences(objective, label, outcome)))


def _sentences(objective: TargetResult, label: str, outcome: str) -> list[str]:
    chosen, natural = objective.cells["chosen"], objective.cells["natural"]
    gain, predicted = objective.measured_gain or 0.0, objective.predicted_gain
    seeds = min(len(chosen.measured), len(natural.measured))
    says = [
        f"On {label} the larger models reached {decimals(chosen.mean)} nats per token on the chosen mixture and "
        f"{decimals(natural.mean)} on the natural one: the chosen mixture is "
        f"{_compared(gain)}"
        + (f", where the proxies predicted {_compared(predicted)}." if predicted is not None else ".")
    ]
    if seeds == 1:
        says.append("There is one seed a mixture, so the part of chance in this difference is unknown.")
    elif outcome == "unclear":
        says.append(
            f"The ranges of the {seeds} seeds overlap, so this difference is within the variation between seeds: the "
            "confirmation gives no evidence for the chosen mixture and none against it."
        )
    elif outcome == "held":
        says.append(f"Every one of the {seeds} seeds on the chosen mixture beat every seed on the natural one.")
    else:
        says.append(
            f"Every one of the {seeds} seeds on the chosen mixture lost to every seed on the natural one. "
            "This speaks against the decision: do not train on the chosen mixture on the basis of this study."
        )
    if objective.predicted_order:
        found = listed(list(objective.measured_order))
        says.append(
            f"The full order held: {found}, from the lowest loss up."
            if objective.held
            else f"The predicted order was {listed(list(objective.predicted_order))}; measured was {found}."
        )
    return says


def _compared(gain: float) -> str:
    """A gain in words: "0.117 better"; what rounds to zero is not a difference."""
    size = decimals(abs(gain))
    return "no different" if not float(size) else f"{size} {'better' if gain > 0 else 'worse'}"


def tally(results: Mapping[str, TargetResult]) -> str:
    """How often the prediction of chosen against natural had the right sign, over the given targets; "" without any."""
    pairs = [
        (result.predicted_gain, result.measured_gain)
        for result in results.values()
        if result.predicted_gain is not None and result.measured_gain is not None
    ]
    if len(pairs) < 2:
        return ""
    right = sum((predicted > 0) == (measured > 0) for predicted, measured in pairs)
    better = sum(measured > 0 for _, measured in pairs)
    return (
        f"Over all {len(pairs)} targets, the chosen mixture was better than the natural one on {better}; "
        f"the proxies had the direction right on {right}."
    )
