"""Most of the budget on smaller proxies, and a few of their mixtures again at the proxies' own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regmix_pipeline.errors import StudyError
from regmix_pipeline.proxies.size_runs import spread_of
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Choice, Run, Size
from regmix_pipeline.strategies.methods.experiments import (
    loss_table,
    objective_counted,
    objective_shares,
    smaller_proxy,
    too_small,
)
from regmix_pipeline.strategies.methods.ours import Small

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor
    from regmix_pipeline.regression.sizes import SizeLaw


@dataclass(frozen=True)
class SmallThenLarger(Small):
    """What this package does with `proxies.sizes`: rounds of smaller proxies, then some of their mixtures again at a
    larger size, here that of the proxies. Where the larger runs say that targets' losses spread otherwise there, the
    measured losses are moved to the target's size before the search.

    Attributes:
        share: of the budget for the larger runs, 8 at least.
        follow: whether losses are moved. Without, the larger runs are trained for nothing: to see what moving is worth.
    """

    name = "ours_two_sizes"

    share: float = 0.25
    follow: bool = True

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
        from regmix_pipeline.regression.size_fit import FEWEST, fit_moved
        from regmix_pipeline.regression.sizes import SINGLE, ModelSize
        from regmix_pipeline.strategies.methods.fitted_one import optimised

        small = smaller_proxy(arena, self.name)
        larger = max(FEWEST, int(self.share * flops * (1 + 1e-9) // arena.proxy.flops))
        count = int((flops - larger * arena.proxy.flops) * (1 + 1e-9) // small.flops)
        if count < FEWEST:
            raise too_small(arena, self.name, flops, FEWEST * (small.flops + arena.proxy.flops))
        runs = self.trained(arena, count, seed)
        fitted = self.fitted(arena, runs, seed)
        objective = objective_counted(arena)
        law = law_of_larger(arena, fitted, runs, (small, arena.proxy), larger, seed)
        if self.follow and law is not None and law.used != SINGLE:
            target = ModelSize(arena.target.parameters, arena.target.tokens)
            fitted = fit_moved(
                fitted,
                law,
                target,
                self.regression,
                self.workers,
                epochs_per_weight=arena.epochs,
                predict_at=arena.epochs,
                counted=objective,
            )
        found = optimised(arena, fitted, objective, seed)
        return Choice.of(
            rounded_inside(found, arena.limits),
            proxies=min(larger, len(runs)),
            small_proxies=len(runs),
            law=SINGLE if law is None else law.used,
            regressors=fitted.chosen,
        )


def law_of_larger(
    arena: Arena,
    fitted: FittedRegressor,
    runs: Sequence[Run],
    sizes: tuple[Size, Size],
    count: int,
    seed: int,
    always: Sequence[str] = (),
) -> SizeLaw | None:
    """What moves with size, by some of the mixtures of ``runs`` trained again; None where they are too few.

    Args:
        arena: that trains them.
        fitted: the regressors of the runs, in their order.
        runs: of the smaller size, each mixture once.
        sizes: the smaller, and the one that is trained.
        count: mixtures that are trained again, as `proxies.sizes` chooses them.
        seed: of the runs, and of the law's folds.
        always: ids of mixtures that are among them.
    """
    from regmix_pipeline.regression.size_fit import fit_sizes
    from regmix_pipeline.regression.sizes import ModelSize, SizeRuns

    mixtures = {run.mixture.id: run.mixture for run in runs}
    measured = dict(zip(mixtures, (fitted.losses @ objective_shares(arena)).tolist(), strict=True))
    chosen = [mixtures[key] for key in spread_of(measured, count, [*always])]
    weights, losses, _ = loss_table(arena, arena.train(chosen, sizes[1], seed))
    base, other = (ModelSize(size.parameters, size.tokens) for size in sizes)
    return fit_sizes(fitted, base, [SizeRuns(other, weights, losses)], objective_counted(arena), seed)
