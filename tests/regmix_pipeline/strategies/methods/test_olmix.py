"""olmix: the exact optimum of its law, near the natural mixture."""

from __future__ import annotations

import numpy as np
import pytest

from regmix_pipeline.errors import StudyError
from regmix_pipeline.regression.laws.exponential import LOG_LINEAR
from regmix_pipeline.search.region import divergence, natural_inside, project_to_limits
from regmix_pipeline.strategies.methods.experiments import loss_table, objective_shares, sampled
from regmix_pipeline.strategies.methods.olmix import Olmix
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
from regmix_pipeline.study.settings.mixtures import MixtureSettings


def chosen(world: SyntheticWorld, **options: float) -> np.ndarray:
    mixture = Olmix(**options).choose(world.fresh(), 32 * world.proxy.flops).mixture
    assert mixture is not None
    return mixture.vector(world.domains)


@pytest.mark.parametrize("strength", [0.0, 0.05])
def test_no_mixture_within_the_limits_has_less_law_and_divergence(strength: float) -> None:
    world = SyntheticWorld("scarce", 2)
    found = chosen(world, kl_regularisation=strength)
    assert world.limits.allow(found[None], 1e-6).all()
    runs = world.fresh().train(sampled(world, MixtureSettings(count=32), 0), world.proxy, 0)
    weights, losses, _ = loss_table(world, runs)
    law = LOG_LINEAR().fit(weights, losses)

    def value(mixtures: np.ndarray) -> np.ndarray:
        return law.predict(mixtures) @ objective_shares(world) + strength * divergence(mixtures, world.prior)

    generator = np.random.default_rng(0)
    drawn = np.concatenate([generator.dirichlet(np.ones(8), 3000), generator.dirichlet(200 * found + 1e-2, 3000)])
    assert value(found[None])[0] <= value(project_to_limits(drawn, world.limits)).min() + 1e-5


def test_a_strong_regularisation_stays_at_the_natural_mixture() -> None:
    world = SyntheticWorld("scarce", 2)
    natural = natural_inside(world.prior, world.limits).vector(world.domains)
    near, far = (chosen(world, kl_regularisation=strength) for strength in (100.0, 0.01))
    assert np.abs(near - natural).sum() < 0.02 < np.abs(far - natural).sum()


def test_it_beats_the_natural_mixture() -> None:
    worlds = [SyntheticWorld("easy", seed) for seed in range(3)]
    shares = [world.regret(Olmix().choose(world.fresh(), 32 * world.proxy.flops))[1] for world in worlds]
    assert np.mean(shares) < 0.7


def test_a_reward_for_divergence_is_refused() -> None:
    with pytest.raises(StudyError, match="regularisation of -1"):
        Olmix(kl_regularisation=-1)
