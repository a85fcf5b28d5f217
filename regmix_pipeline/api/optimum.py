"""The best mixture found, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.api.limits import LargeRun
from regmix_pipeline.api.prediction import Prediction
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.numbers import percent
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.result import SearchResult
from regmix_pipeline.study.settings.search import SearchSettings

if TYPE_CHECKING:
    import polars as pl
    from plotly.graph_objects import Figure

OBJECTIVE = "objective"


@dataclass(frozen=True)
class Optimum:
    """The best mixture inside the limits.

    Attributes:
        result: everything the search says.
        fitted: the regressors that it asked.
        objective: target -> weight.
        prior: the natural mixture, or what stands for it, (d,).
        limits: caps and floors.
        settings: how it was searched.
        large: the limits as given.
        compared: whether the natural mixture is known, and not only the mean of the runs.
        level: nominal coverage of the intervals.
    """

    result: SearchResult
    fitted: FittedRegressor
    objective: Mapping[str, float]
    prior: NDArray[np.float64]
    limits: Limits
    settings: SearchSettings
    large: LargeRun
    compared: bool
    level: float = 0.9

    @property
    def mixture(self) -> Mixture:
        """The answer, exact to a part per million."""
        return self.result.mixture

    @property
    def weights(self) -> dict[str, float]:
        """Domain -> weight, the heaviest first; domains of weight zero too."""
        found = {name: self.mixture.weights.get(name, 0.0) for name in self.fitted.domains}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def predicted(self) -> float:
        """Predicted objective, the weighted mean of the targets' losses, nats per token."""
        return self._row("chosen")["predicted"]

    @property
    def low(self) -> float:
        """Lower end of its interval."""
        return self._row("chosen")["low"]

    @property
    def high(self) -> float:
        """Upper end of its interval."""
        return self._row("chosen")["high"]

    @property
    def natural(self) -> Prediction | None:
        """The natural mixture's predicted objective, as near to it as the limits allow; None where it is not known."""
        if not self.compared:
            return None
        row = self._row("natural")
        ends = (np.array([[row[name]]]) for name in ("predicted", "low", "high"))
        return Prediction((OBJECTIVE,), *ends, level=self.level)

    @property
    def gain(self) -> dict[str, Any] | None:
        """The natural objective minus this one: predicted, optimism (what such a search overstates), corrected, low,
        high and chance_better_than_natural; None where the natural mixture is not known."""
        return self.result.gain if self.compared else None

    @property
    def domains(self) -> pl.DataFrame:
        """A row per domain, the heaviest first: weight, cap, floor, range of the weight within a standard error of the
        best (low, high), sensitivity, and epochs where tokens are known."""
        import polars as pl

        names = (
            "domain",
            "weight",
            "prior",
            "cap",
            "floor",
            "at_cap",
            "low",
            "high",
            "sensitivity",
            "weakly_identified",
        )
        rows = [{name: row[name] for name in names} | self._epochs(row) for row in self.result.domains]
        for row in rows:
            row["prior"] = row["prior"] if self.compared else None
        return pl.DataFrame(sorted(rows, key=lambda row: -row["weight"])).rename({"prior": "natural"})

    @property
    def predictions(self) -> pl.DataFrame:
        """A row per named mixture and target: chosen, natural (where known), uniform and best_observed."""
        import polars as pl

        columns = ("name", "target", "predicted", "low", "high")
        rows = (row for row in self.result.predictions if self.compared or row["name"] != "natural")
        return pl.DataFrame([{name: row[name] for name in columns} for row in rows])

    @property
    def shadow_prices(self) -> pl.DataFrame:
        """A row per cap that holds the answer: what more room in it is worth, by the search asked again with that cap
        raised. Columns: limit, cap, epochs, price_per_point and price_per_epoch (nats per token that the predicted
        objective falls with a point of weight, or an epoch, more), and of half as much room again: further_epochs,
        further_gain, further_low, further_high."""
        import polars as pl
        from threadpoolctl import threadpool_limits

        from regmix_pipeline.search.best import asked
        from regmix_pipeline.search.shadow_prices import shadow_prices

        target, tokens = self.large.target_tokens, self.large.available_tokens
        rates = {} if target is None else {name: target / held for name, held in tokens.items()}
        with threadpool_limits(1):
            question = asked(self.fitted, self.prior, self.limits, self.objective, self.settings)
            rows = shadow_prices(*question, self.mixture.vector(self.fitted.domains), rates, self.level)
        names = ("limit", "cap", "epochs", "price_per_point", "price_per_epoch")
        return pl.DataFrame(
            [
                {name: row[name] for name in names}
                | {f"further_{name}": row["further"][name] for name in ("epochs", "gain", "low", "high")}
                for row in rows
            ],
            schema=dict.fromkeys(
                (*names, *(f"further_{name}" for name in ("epochs", "gain", "low", "high"))), pl.Float64
            )
            | {"limit": pl.String},
        )

    @property
    def flags(self) -> list[str]:
        """What a reader must know before acting on the answer."""
        return [each for each in self.result.flags if self.compared or "gain" not in each]

    def plot(self) -> Figure:
        """Weights beside the natural ones, with caps and the range that is as good (plotly)."""
        from regmix_pipeline.api.drawing import as_figure
        from regmix_pipeline.report.plots import weights

        rows = [row | self._epochs(row) for row in self.result.domains]
        return as_figure(weights(rows if self.compared else [row | {"prior": None} for row in rows]))

    def _epochs(self, row: Mapping[str, Any]) -> dict[str, float]:
        available = self.large.available_tokens.get(row["domain"])
        if available is None or self.large.target_tokens is None:
            return {}
        return {"epochs": row["weight"] * self.large.target_tokens / available}

    def _row(self, name: str) -> Mapping[str, Any]:
        return next(row for row in self.result.predictions if (row["name"], row["target"]) == (name, OBJECTIVE))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {percent(weight)}" for name, weight in self.weights.items() if weight >= 0.0005)
        lines = [f"{shown}", f"predicted {self.predicted:.4f} ({self.low:.4f} to {self.high:.4f})"]
        if self.natural is not None and self.gain is not None:
            lines.append(
                f"natural {self.natural.mean[0, 0]:.4f}; gain {self.gain['corrected']:.4f} "
                f"({self.gain['low']:.4f} to {self.gain['high']:.4f})"
            )
        return "\n".join([*lines, *self.flags])
