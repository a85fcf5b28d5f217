"""olmix: a log-linear law of every target, and its exact optimum near the natural mixture."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.errors import StudyError
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Choice
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, objective_counted, sampled
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@dataclass(frozen=True)
class Olmix:
    """olmix's base method (Chen et al. 2026): L_t(w) = c_t + exp(a_t . w) with c_t > 0 for every target, fitted to
    mixtures around the natural one under the repetition limits, and of those within the limits the mixture of least

        sum_t share_t L_t(w) + kl_regularisation KL(w || natural),

    a convex program that is solved exactly.

    What differs: the law is this package's `log_linear` regressor, whose squared errors are penalised as strongly as
    inner folds say, where olmix minimises a Huber loss from some 300 starts without penalty. Weights below 2e-4 are
    zero, as in RegMix's sampler; olmix drops those below 2e-3. Its reuse of earlier mixtures when domains change is not
    built.

    Attributes:
        kl_regularisation: nats of the objective per nat of divergence. The default is that of the authors' exact
            proposer; their command's reference shows 0.1.
    """

    name = "olmix"
    paper = "Chen et al., Olmix: A Framework for Data Mixing Throughout LM Development, 2602.12237"

    kl_regularisation: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a reward for divergence, whose program would not be convex.

        Raises:
            StudyError: below 0.
        """
        if not self.kl_regularisation >= 0:
            raise StudyError(
                f"a regularisation of {self.kl_regularisation:g}",
                where="strategies.options.olmix.kl_regularisation",
                remedy="0, or above",
            )

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`.

        Raises:
            StudyError: the budget is too small, or the convex program has no answer.
        """
        from regmix_pipeline.regression.laws.exponential import LOG_LINEAR
        from regmix_pipeline.search.convex import ConvexSearch
        from regmix_pipeline.search.objective import Objective
        from regmix_pipeline.search.region import Region
        from regmix_pipeline.strategies.methods.fitted_one import fitted_one
        from regmix_pipeline.study.settings.search import SearchSettings

        count = affordable(arena, self.name, flops)
        runs = arena.train(sampled(arena, MixtureSettings(count=count), seed), arena.proxy, seed)
        weights, losses, targets = loss_table(arena, runs)
        fitted = fitted_one(arena, "log_linear", LOG_LINEAR(), weights, losses, targets)
        objective = Objective(fitted, objective_counted(arena), arena.prior)
        region = Region.of(arena.limits, arena.prior, weights, SearchSettings())
        found = ConvexSearch(objective, region, "log_linear").near_prior(self.kl_regularisation)
        if found is None:
            raise StudyError("the convex program has no answer", where="strategies.olmix", remedy="leave it out")
        return Choice.of(rounded_inside(found, arena.limits), proxies=count)
