"""The mixture that n-gram counts predict to be best. It trains nothing."""

from __future__ import annotations

from regmix_pipeline.errors import StudyError
from regmix_pipeline.search.region import natural_inside, rounded_inside
from regmix_pipeline.strategies.arena import Arena, Choice
from regmix_pipeline.strategies.methods.experiments import objective_counted
from regmix_pipeline.strategies.methods.fitted_one import fitted_one, optimised


class Ngrams:
    """Minimise the objective over the losses that counts of bigrams predict, under the limits, with no proxy at all."""

    name = "ngrams"
    paper = "this package"
    trains = False

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`.

        Raises:
            StudyError: nothing was counted, because the study has no text or no regressor of n-gram counts.
        """
        from regmix_pipeline.regression.laws.ngrams import NgramLaw

        objective = objective_counted(arena)
        targets = list(objective)
        counted = arena.counted
        evidence = None if counted is None else counted.over(arena.domains, targets)
        if evidence is None:
            raise StudyError(
                "nothing was counted",
                where="strategies.names",
                remedy="name a regressor of n-gram counts in regression.regressors, or leave ngrams out",
            )
        natural = natural_inside(arena.prior, arena.limits)
        weights = natural.vector(arena.domains)[None]
        losses = evidence.losses(weights)
        fitted = fitted_one(arena, self.name, NgramLaw.of_counts(evidence), weights, losses, targets)
        found = optimised(arena, fitted, objective, seed)
        return Choice.of(rounded_inside(found, arena.limits))
