"""A fit, and what it can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from regmix_pipeline.api.limits import LargeRun
from regmix_pipeline.api.optimum import Optimum
from regmix_pipeline.api.prediction import Prediction
from regmix_pipeline.api.tables import Table, mixtures_of, settings_of
from regmix_pipeline.errors import RegressionError
from regmix_pipeline.progress import Say
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.acquisition import Acquisition
from regmix_pipeline.search.best import search
from regmix_pipeline.search.guardrails import Guardrails
from regmix_pipeline.search.region import Region, natural_inside
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.study.settings.regression import RegressionSettings
from regmix_pipeline.study.settings.search import SearchSettings

if TYPE_CHECKING:
    import polars as pl
    from plotly.graph_objects import Figure

SEED = 42
"""A study's default too: the same tables give the same answer."""


def silent(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Fit:
    """Losses as a function of the mixture.

    Attributes:
        fitted: the regressors, as the pipeline keeps them.
        settings: how they were chosen.
        seed: of every random choice.
        tokens: tokens of a run; None where nobody said.
        notes: what a reader must know of the rows.
    """

    fitted: FittedRegressor
    settings: RegressionSettings
    seed: int = SEED
    tokens: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the d domains."""
        return self.fitted.domains

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the T targets."""
        return self.fitted.targets

    def predict(self, weights: Table, level: float | None = None) -> Prediction:
        """Predicted losses of mixtures, with intervals.

        Args:
            weights: a frame or array, (m, d), or a dictionary of one mixture: domain -> weight.
            level: coverage of the intervals. Default: that of the settings.

        Raises:
            RegressionError: an unknown domain, one without a column, or a row that does not sum to 1.
        """
        points = np.array([mixture.vector(self.domains) for mixture in mixtures_of(weights, self.domains)])
        level = self.settings.level if level is None else level
        with threadpool_limits(1):
            mean, (low, high) = self.fitted.predict(points), self.fitted.interval(points, level)
        return Prediction(self.targets, mean, low, high, level)

    @property
    def scores(self) -> pl.DataFrame:
        """How well losses are predicted on rows that were not trained on: a row per target and score, with intervals.

        ``split`` says how rows were left out, at random or by region; ``coverage`` is how often intervals hold. All
        regressors' are in ``fitted.scores``.
        """
        import polars as pl

        columns = ("target", "regressor", "split", "metric", "value", "low", "high")
        return pl.DataFrame([{name: row[name] for name in columns} for row in self.fitted.scores if row["chosen"]])

    def optimise(
        self,
        limits: LargeRun | Mapping[str, Any] | None = None,
        *,
        target_weights: Mapping[str, float] | None = None,
        natural: Mapping[str, float] | Table | None = None,
        settings: SearchSettings | Mapping[str, Any] | None = None,
        say: Say = silent,
    ) -> Optimum:
        """The best mixture inside the limits, by the search of the pipeline.

        Args:
            limits: caps, floors, available tokens and epochs; a dictionary of `LargeRun`'s fields does.
            target_weights: target -> weight in the objective. Default: all targets alike.
            natural: the mixture to compare with, domain -> weight. Default: in proportion to the available tokens,
                where those of every domain are given; else the mean of the runs stands for it in the search, and
                nothing is compared with it.
            settings: how to search; a dictionary of `SearchSettings`' fields does.
            say: where progress goes.

        Raises:
            MixtureError: an unknown domain, or limits that leave no mixture.
            RegressionError: an unknown target, or target weights that are not sound.
        """
        large = LargeRun.of(limits)
        bounds = large.limits(self.domains)
        settings = settings_of(SearchSettings, settings)
        settings = settings.model_copy(update={"groups": (*settings.groups, *large.group_limits())})
        given = large.natural(self.domains) if natural is None else self._vector(natural)
        prior = self.fitted.weights.mean(axis=0) if given is None else given
        target = None if large.target_tokens is None else int(large.target_tokens)
        fitted = replace(self.fitted, law_share=self.settings.law_share_for(self.tokens, target))
        objective = dict(target_weights or dict.fromkeys(self.targets, 1.0))
        with threadpool_limits(1):
            found = search(fitted, prior, bounds, objective, settings, self.seed, say, self.settings.level)
        return Optimum(found, fitted, objective, prior, bounds, settings, large, given is not None, self.settings.level)

    def propose(self, count: int, optimum: Optimum | None = None, *, rule: str | None = None) -> pl.DataFrame:
        """Mixtures to train next, chosen as a study's next round is: where a measurement is worth most.

        Args:
            count: of mixtures; fewer are returned where the limits hold no more.
            optimum: the answer so far, whose limits and objective count. Default: that of `optimise` without limits.
            rule: ``regret_reduction``, ``lower_bound`` or ``thompson``. Default: that of a study.

        Returns:
            A row per mixture: its id, a column per domain, ``predicted`` objective, its ``deviation``, and ``worth``,
            how far its loss may lie below the answer's, nats per token.
        """
        import polars as pl

        best = optimum or self.optimise()
        with threadpool_limits(1):
            region = Region.of(best.limits, best.prior, self.fitted.weights, best.settings)
            chosen = best.mixture.vector(self.domains)
            natural = natural_inside(best.prior, best.limits).vector(self.domains)
            guardrails = Guardrails.of(best.fitted, best.settings.guardrails, natural)
            against = natural if best.settings.objective == "worst_case" else None
            asked = Acquisition(best.fitted, region, best.objective, chosen, self.seed, guardrails, against)
            picks = asked.batch(count, MixtureSettings().quantum, rule)
        return pl.DataFrame(
            [
                {
                    "mixture": pick.mixture.id,
                    **dict(zip(self.domains, pick.mixture.vector(self.domains).tolist(), strict=True)),
                    "predicted": pick.predicted,
                    "deviation": pick.deviation,
                    "worth": pick.worth,
                }
                for pick in picks
            ]
        )

    def plot(self, target: str | None = None) -> Figure:
        """Predicted against measured losses of one target, each by a regressor that had not seen the row (plotly).

        Args:
            target: default the first.

        Raises:
            RegressionError: there is no such target.
        """
        from regmix_pipeline.api.drawing import as_figure
        from regmix_pipeline.report.plots import out_of_fold

        target = target or self.targets[0]
        if target not in self.targets:
            raise RegressionError(
                f"no target {target!r}", where="plot", remedy=f"choose one of {', '.join(self.targets)}"
            )
        column = self.targets.index(target)
        pairs = zip(self.fitted.losses[:, column].tolist(), self.fitted.out_of_fold[:, column].tolist(), strict=True)
        return as_figure(out_of_fold(list(pairs), target, large=True), "measured loss", "predicted, out of fold")

    def _vector(self, natural: Mapping[str, float] | Table) -> NDArray[np.float64]:
        found = mixtures_of(natural, self.domains, "natural")
        if len(found) != 1:
            raise RegressionError(f"{len(found)} mixtures", where="natural", remedy="give one")
        return found[0].vector(self.domains)

    def __repr__(self) -> str:
        chosen = ", ".join(f"{target} by {name}" for target, name in self.fitted.chosen.items())
        said = [f"{len(self.fitted.weights)} mixtures of {len(self.domains)} domains: {chosen}", *self.notes]
        return "\n".join(said)
