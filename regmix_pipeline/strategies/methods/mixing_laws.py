"""Data Mixing Laws: losses extrapolated over steps and sizes, then an exponential law of the mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice, Run, Size
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, objective_counted, sampled
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@dataclass(frozen=True)
class DataMixingLaws:
    """Data Mixing Laws (Ye et al. 2024): three laws, one inside the other.

    Every mixture is trained at both proxy sizes. Each run's L(s) = E + B s^-b predicts its loss at the target's
    tokens; over the two sizes L(N) = E + B N^-b predicts it at the target's parameters, with E and b shared by the
    mixtures since two sizes do not give three parameters (the paper trains four); c + k exp(t.w) is fitted to what was
    extrapolated and minimised under the limits. The paper extrapolates over steps by a factor of about three, a target
    run far longer than the proxies asks for more.

    Attributes:
        steps: extrapolate over steps.
        sizes: extrapolate over sizes; without, the whole budget goes to the larger proxy.
    """

    name = "data_mixing_laws"
    paper = (
        "Ye et al., Data Mixing Laws: Optimizing Data Mixtures by Predicting Language Modeling Performance, 2403.16952"
    )

    steps: bool = True
    sizes: bool = True

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`.

        Raises:
            StudyError: the budget is too small, or the arena has no smaller proxy.
        """
        from regmix_pipeline.regression.laws.exponential import ExponentialLaw
        from regmix_pipeline.strategies.methods.fitted_one import fitted_one, optimised
        from regmix_pipeline.strategies.methods.size_law import size_law

        sizes = [arena.proxy]
        if self.sizes:
            if arena.small_proxy is None:
                raise StudyError(
                    f"{self.name} extrapolates over sizes",
                    where="strategies.small_proxy",
                    remedy="give a smaller proxy",
                )
            sizes.append(arena.small_proxy)
        count = affordable(arena, self.name, flops, sum(size.flops for size in sizes))
        mixtures = sampled(arena, MixtureSettings(count=count), seed)
        runs = [arena.train(mixtures, size, seed) for size in sizes]
        weights, _, targets = loss_table(arena, runs[0])
        extrapolated = np.stack(
            [self._at_target_tokens(arena, size, of_size, targets) for size, of_size in zip(sizes, runs, strict=True)],
            axis=-1,
        )  # (n, T, sizes)
        if self.sizes:
            parameters = np.array([size.parameters for size in sizes], dtype=float)
            losses = np.column_stack(
                [size_law(part, parameters, arena.target.parameters) for part in extrapolated.swapaxes(0, 1)]
            )
        else:
            losses = extrapolated[:, :, 0]
        fitted = fitted_one(arena, "exponential", ExponentialLaw(), weights, losses, targets)
        found = optimised(arena, fitted, objective_counted(arena), seed)
        return Choice.of(rounded_inside(found, arena.limits), mixtures=count, sizes=[size.name for size in sizes])

    def _at_target_tokens(self, arena: Arena, size: Size, runs: Sequence[Run], targets: Sequence[str]) -> Array:
        """Losses (n, T) of runs, extrapolated for as many tokens as the target run has."""
        from regmix_pipeline.regression.steps import power_law

        final = np.array([[run.losses[target] for target in targets] for run in runs])
        if not self.steps:
            return final
        steps = np.r_[runs[0].steps, size.steps]
        at = arena.target.tokens / (size.tokens / size.steps)
        found = [
            power_law(
                steps, np.column_stack([np.array([run.trajectory[target] for run in runs]), final[:, column]]), at
            )
            for column, target in enumerate(targets)
        ]
        return np.column_stack(found)
