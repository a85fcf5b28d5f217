"""MARINER: its law of epochs, and its last step among measured neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from regmix_pipeline.errors import StudyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.search.region import distance_to_nearest
from regmix_pipeline.strategies.arena import Run, Size
from regmix_pipeline.strategies.methods.mariner import Mariner, MarinerLaw
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld

RATES = [40.0, 2.0, 0.5, 0.5]


def losses_of(weights: np.ndarray) -> np.ndarray:
    """The law's own form: the first domain helps, and harms beyond some four epochs; the third helps a little."""
    epochs = weights * RATES
    harm = np.logaddexp(0, np.log1p(epochs[:, 0]) - 2) ** 2
    return 1.5 + np.exp(0.4 - 1.2 * -np.expm1(-epochs[:, 0]) - 0.3 * -np.expm1(-epochs[:, 2]) + 0.3 * harm)


def test_the_law_knows_how_often_a_domain_is_worth_seeing() -> None:
    generator = np.random.default_rng(0)
    weights = generator.dirichlet([0.5, 1, 1, 1], 80)
    noisy = losses_of(weights) + 0.003 * generator.standard_normal(80)
    law = MarinerLaw(RATES).fit(weights, noisy)
    assert np.abs(law.predict(weights) - losses_of(weights)).mean() < 0.02
    # Along a line towards the first domain, whose optimum is at some epochs and not at an end.
    line = np.linspace(0, 1, 201)[:, None] * [1, -1 / 3, -1 / 3, -1 / 3] + [0, 1 / 3, 1 / 3, 1 / 3]
    best, found = (int(values.argmin()) for values in (losses_of(line), law.predict(line)))
    assert 0 < best < 100
    assert abs(found - best) <= 8
    assert (law.learned_["amplitude"] >= 0).all()


def test_more_of_a_domain_only_helps_where_nothing_is_repeated() -> None:
    weights = np.random.default_rng(1).dirichlet(np.ones(3), 40)
    law = MarinerLaw().fit(weights, 2 + np.exp(-2 * weights[:, 0]))
    line = np.linspace(0, 1, 50)[:, None] * [1, -0.5, -0.5] + [0, 0.5, 0.5]
    assert (np.diff(law.predict(line)) < 1e-9).all()


def test_constant_losses_are_constant() -> None:
    weights = np.random.default_rng(2).dirichlet(np.ones(4), 20)
    law = MarinerLaw(RATES).fit(weights, np.column_stack([np.full(20, 3.0), losses_of(weights)]))
    assert law.predict(weights)[:, 0] == pytest.approx(3.0)


class Watched(SyntheticWorld):
    """A world that keeps what it was asked to train."""

    asked: list[list[Mixture]]

    def train(self, mixtures: Sequence[Mixture], size: Size, seed: int = 0) -> list[Run]:
        self.asked.append(list(mixtures))
        return super().train(mixtures, size, seed)


def test_the_last_proxies_lie_near_the_optimum() -> None:
    world = Watched("worn_loose", 0)
    world.asked = []
    choice = Mariner().choose(world, 32 * world.proxy.flops)
    assert [len(each) for each in world.asked] == [24, 8]
    assert choice.details == {"proxies": 32, "near_the_optimum": 8}
    first, last = (np.array([mixture.vector(world.domains) for mixture in each]) for each in world.asked)
    assert choice.mixture is not None
    found = choice.mixture.vector(world.domains)[None]
    distances = [np.median(distance_to_nearest(each, found)) for each in (first, last)]
    assert distances[1] < 0.5 * distances[0]
    assert world.regret(choice)[1] < 0.7


def test_it_comes_near_the_optimum_where_domains_wear_out() -> None:
    shares = []
    for seed in range(3):
        world = SyntheticWorld("worn_loose", seed)
        shares.append(world.regret(Mariner().choose(world.fresh(), 48 * world.proxy.flops))[1])
    assert np.mean(shares) < 0.3


def test_a_share_that_leaves_nothing_to_fit_is_refused() -> None:
    with pytest.raises(StudyError, match="a share of 0"):
        Mariner(last=0.9)
