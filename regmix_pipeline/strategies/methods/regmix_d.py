"""RegMix-D: a mixture for each stage of training, from what proxies had reached by its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Choice
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, objective_shares, sampled
from regmix_pipeline.strategies.methods.nearest import inside
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@dataclass(frozen=True)
class RegMixD:
    """RegMix-D (Zhao et al. 2026), its offline schedule, as its abstract describes it.

    What was built: RegMix's proxies are trained once. For every stage a LightGBM is fitted to the objective's losses at
    the point of the proxies' trajectories that is nearest to the stage's end, the last stage's to final losses, and its
    best mixture by RegMix's simulation is drawn in that stage of the target run. A stage's mixture is thus the one that
    would be best if training ended with the stage. How the paper cuts stages, and whether it regresses losses or what
    they fell by, could not be read; its online variant, which corrects the schedule by observed losses, is not built.

    Attributes:
        stages: of equal length.
        candidates, top_k: of the simulation.
    """

    name = "regmix_d"
    paper = "Zhao et al., RegMix-D: Dynamic Data Mixing via Proxy Training Trajectories, 2606.18663"

    stages: int = 4
    candidates: int = 100_000
    top_k: int = 128

    def __post_init__(self) -> None:
        """Refuse a schedule of no stage.

        Raises:
            StudyError: fewer than one.
        """
        if self.stages < 1:
            raise StudyError("no stages", where="strategies.options.regmix_d.stages", remedy="ask for one at least")

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.regression.trees import LightGBMRegressor
        from regmix_pipeline.strategies.methods.fitted_one import fitted_one, no_limits, simulated
        from regmix_pipeline.study.settings.search import SearchSettings

        count = affordable(arena, self.name, flops)
        mixtures = sampled(arena, MixtureSettings(count=count, under_caps=False), seed)
        runs = arena.train(mixtures, arena.proxy, seed)
        weights, final, targets = loss_table(arena, runs)
        shares = objective_shares(arena)
        settings = SearchSettings(method="simulation", candidates=self.candidates, top_k=self.top_k)
        schedule: list[tuple[float, Mixture]] = []
        moved = 0.0
        for stage in range(1, self.stages + 1):
            at = (
                int(np.abs(runs[0].steps - stage / self.stages * arena.proxy.steps).argmin())
                if len(runs[0].steps)
                else -1
            )
            losses = final
            if stage < self.stages and at >= 0:
                losses = np.array([[run.trajectory[target][at] for target in targets] for run in runs])
            model = LightGBMRegressor()
            fitted = fitted_one(arena, "lightgbm", model, weights, (losses @ shares)[:, None], ["objective"])
            found = simulated(arena, fitted, {"objective": 1.0}, settings, seed, no_limits(arena))
            within = inside(arena, found)
            moved = max(moved, float(np.abs(within - found).sum() / 2))
            schedule.append((stage / self.stages, rounded_inside(within, arena.limits)))
        return Choice(
            tuple(schedule), details={"proxies": count, "project_to_limits": moved > 1e-9, "moved_by": round(moved, 6)}
        )
