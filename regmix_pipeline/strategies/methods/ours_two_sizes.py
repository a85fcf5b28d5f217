"""Most of the budget on smaller proxies, and a few of their mixtures again at the proxies' own size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.proxies.size_runs import spread_of
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Choice
from regmix_pipeline.strategies.methods.experiments import (
    loss_table,
    objective_counted,
    objective_shares,
    smaller_proxy,
    too_small,
)
from regmix_pipeline.strategies.methods.ours import Small


@dataclass(frozen=True)
class SmallThenLarger(Small):
    """What this package does with `proxies.sizes`: rounds of smaller proxies, then some of their mixtures again at a
    larger size, here that of the proxies. Where the larger runs say that targets' losses spread otherwise there, the
    measured losses are moved to the target's size before the search.

    Attributes:
        share: of the budget for the larger runs, 8 at least.
    """

    name = "ours_two_sizes"

    share: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a share that leaves nothing for either size.

        Raises:
            StudyError: a share beyond (0, 1).
        """
        if not 0 < self.share < 1:
            raise StudyError(
                f"a share of {self.share}", where="strategies.options.ours_two_sizes", remedy="from 0 to 1, neither"
            )

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`.

        Raises:
            StudyError: the budget is too small, or the arena has no smaller proxy.
        """
        from regmix_pipeline.regression.fitting import fit_again
        from regmix_pipeline.regression.size_fit import FEWEST, fit_sizes
        from regmix_pipeline.regression.sizes import SINGLE, ModelSize, SizeRuns
        from regmix_pipeline.strategies.methods.fitted_one import optimised

        small = smaller_proxy(arena, self.name)
        larger = max(FEWEST, int(self.share * flops * (1 + 1e-9) // arena.proxy.flops))
        count = int((flops - larger * arena.proxy.flops) * (1 + 1e-9) // small.flops)
        if count < FEWEST:
            raise too_small(arena, self.name, flops, FEWEST * (small.flops + arena.proxy.flops))
        runs = self.trained(arena, count, seed)
        fitted = self.fitted(arena, runs, seed)
        objective = objective_counted(arena)
        mixtures = {run.mixture.id: run.mixture for run in runs}
        measured = dict(zip(mixtures, (fitted.losses @ objective_shares(arena)).tolist(), strict=True))
        chosen = [mixtures[key] for key in spread_of(measured, larger, [])]
        weights, losses, _ = loss_table(arena, arena.train(chosen, arena.proxy, seed))
        base, other, target = (ModelSize(size.parameters, size.tokens) for size in (small, arena.proxy, arena.target))
        law = fit_sizes(fitted, base, [SizeRuns(other, weights, losses)], objective, seed)
        if law is not None and law.used != SINGLE:
            rates = None if arena.epochs is None else np.broadcast_to(arena.epochs, fitted.weights.shape)
            fitted = fit_again(
                fitted,
                law.moved(fitted.losses, target),
                law.moved(fitted.out_of_fold, target),
                fitted.spread * law.scale(target),
                None,
                self.regression,
                self.workers,
                rates,
                arena.epochs,
                objective,
            )
        found = optimised(arena, fitted, objective, seed)
        return Choice.of(
            rounded_inside(found, arena.limits),
            proxies=len(weights),
            small_proxies=len(runs),
            law=SINGLE if law is None else law.used,
            regressors=fitted.chosen,
        )
