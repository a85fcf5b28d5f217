"""Properties of the synthetic world that hold whatever its seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.errors import ProxyError, StudyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.strategies.arena import Account, Choice
from regmix_pipeline.strategies.synthetic.presets import PRESETS, WorldSettings
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld

SMALL = ("easy", "interactions", "scarce", "noisy")
worlds = st.builds(SyntheticWorld, st.sampled_from(SMALL), st.integers(0, 50))


def mixtures_of(world: SyntheticWorld, count: int, seed: int = 0) -> list[Mixture]:
    rows = np.random.default_rng(seed).dirichlet(np.ones(len(world.domains)), size=count)
    return [Mixture.from_weights(dict(zip(world.domains, row, strict=True))) for row in rows]


@settings(max_examples=20, deadline=None)
@given(worlds, st.integers(0, 5))
def test_losses_fall_with_tokens_of_any_domain(world: SyntheticWorld, seed: int) -> None:
    if len(world.law.pairs):
        # Harm done by a pair can outweigh more tokens of one of the two; more of all of them always helps.
        world = SyntheticWorld(WorldSettings(), world.seed)
    generator = np.random.default_rng(seed)
    drawn = generator.uniform(1e5, 1e8, (20, len(world.domains)))
    more = drawn * (1 + generator.random(drawn.shape))
    unique = world.unique_tokens(world.proxy)
    before, after = (world.law.losses(world.law.new_tokens(x, unique), 1e6) for x in (drawn, more))
    assert (after < before).all()


@settings(max_examples=20, deadline=None)
@given(worlds, st.integers(0, 5), st.integers(1, 7))
def test_a_session_of_constant_weights_equals_the_run(world: SyntheticWorld, seed: int, pieces: int) -> None:
    (mixture,) = mixtures_of(world, 1, seed)
    run = world.train([mixture], world.proxy, seed)[0]
    session = world.start(world.proxy, seed)
    weights = mixture.vector(world.domains)
    cuts = np.unique(np.linspace(0, world.proxy.steps, pieces + 1).astype(int))
    for steps in np.diff(cuts):
        session.advance(weights, int(steps))
    assert session.losses() == pytest.approx(run.losses, abs=1e-9)
    assert session.drawn() == pytest.approx(weights, abs=1e-9)


def test_the_order_of_tokens_does_not_matter() -> None:
    world = SyntheticWorld("scarce", 3)
    one, other = (mixture.vector(world.domains) for mixture in mixtures_of(world, 2))
    first, second = world.start(world.proxy), world.start(world.proxy)
    for session, order in ((first, (one, other)), (second, (other, one))):
        for weights in order:
            session.advance(weights, world.proxy.steps // 2)
    assert first.exact() == pytest.approx(second.exact(), abs=1e-12)


def test_accounts_add_up() -> None:
    world = SyntheticWorld("easy", 1)
    world.train(mixtures_of(world, 3), world.proxy)
    session = world.start(world.small_proxy)
    for _ in range(4):
        session.advance(world.prior, 250)
    session.domain_losses()
    small = world.small_proxy
    passes = len(world.domains) * world.sample_tokens * small.flops_per_token / 3
    assert world.account.runs == 4
    assert world.account.tokens == 3 * world.proxy.tokens + small.tokens
    assert world.account.flops == pytest.approx(3 * world.proxy.flops + small.flops + passes)
    assert world.fresh().account == Account()


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(SMALL), st.integers(0, 50))
def test_a_world_is_a_function_of_its_seed(preset: str, seed: int) -> None:
    first, second = SyntheticWorld(preset, seed), SyntheticWorld(preset, seed)
    mixtures = mixtures_of(first, 4)
    runs, again = first.train(mixtures, first.proxy, 7), second.train(mixtures, second.proxy, 7)
    assert [run.losses for run in runs] == [run.losses for run in again]
    # A run's losses do not depend on what it is trained beside.
    alone = second.train(mixtures[2:3], second.proxy, 7)[0]
    assert alone.losses == pytest.approx(runs[2].losses, abs=1e-12)
    other = SyntheticWorld(preset, seed + 1)
    assert other.train(mixtures, other.proxy, 7)[0].losses != runs[0].losses


def test_a_seed_shifts_all_mixtures_and_each_has_noise_of_its_own() -> None:
    world = SyntheticWorld(WorldSettings(own_noise=0.01, seed_noise=0.1), 0)
    mixtures = mixtures_of(world, 300)
    weights = np.array([mixture.vector(world.domains) for mixture in mixtures])
    exact = world.true_losses(weights, world.proxy)
    name = world.targets[0]
    shifts = []
    for seed in range(40):
        noise = np.array([run.losses[name] for run in world.train(mixtures, world.proxy, seed)]) - exact[:, 0]
        assert noise.std() == pytest.approx(0.01, rel=0.2)
        shifts.append(noise.mean())
    assert np.std(shifts) == pytest.approx(0.1, rel=0.4)


@pytest.mark.parametrize("preset", SMALL)
def test_proxies_rank_nearly_like_the_target_and_not_exactly(preset: str) -> None:
    from regmix_pipeline.regression.metrics import spearman

    world = SyntheticWorld(preset, 5)
    weights = np.array([mixture.vector(world.domains) for mixture in mixtures_of(world, 400)])
    proxy, target = (world.true_objective(weights, size)[:, None] for size in (world.proxy, world.target))
    assert 0.7 < spearman(proxy, target)[0] < 1


def test_a_repeated_token_is_worth_less_than_a_new_one() -> None:
    scarce, ample = WorldSettings(supply=0.5, max_epochs=10), WorldSettings(supply=50)
    poor, rich = SyntheticWorld(scarce, 2), SyntheticWorld(ample, 2)
    weights = np.array([mixture.vector(poor.domains) for mixture in mixtures_of(poor, 50)])
    assert (poor.true_objective(weights) > rich.true_objective(weights)).all()


@pytest.mark.parametrize("preset", ["plain", "pairs", "scarce"])
@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_as_good_as_brute_force(preset: str, seed: int) -> None:
    kinds = {
        "plain": WorldSettings(domains=3),
        "pairs": WorldSettings(domains=3, pairs=3, bond=1.5),
        "scarce": WorldSettings(domains=3, supply=0.5),
    }
    world = SyntheticWorld(kinds[preset], seed)
    ticks = np.arange(201) / 200
    a, b = np.meshgrid(ticks, ticks)
    grid = np.column_stack([a.ravel(), b.ravel(), 1 - a.ravel() - b.ravel()])
    grid = np.maximum(grid[grid[:, 2] >= -1e-12], 0)
    best = world.true_objective(grid[world.limits.allow(grid)]).min()
    found = world.optimum().vector(world.domains)
    assert world.limits.allow(found[None])[0]
    assert world.true_objective(found[None])[0] <= best + 1e-6


def test_nothing_near_the_optimum_of_a_hundred_domains_is_better() -> None:
    world = SyntheticWorld("many", 1)
    generator = np.random.default_rng(0)
    found = world.optimum().vector(world.domains)
    near = generator.dirichlet(np.maximum(found, 1e-4) * 300, size=20_000)
    from regmix_pipeline.search.region import project_to_limits

    assert (
        world.true_objective(found[None])[0] <= world.true_objective(project_to_limits(near, world.limits)).min() + 1e-6
    )


def test_regret_is_zero_for_the_optimum_and_one_for_natural() -> None:
    from regmix_pipeline.search.region import natural_inside

    world = SyntheticWorld("scarce", 4)
    assert world.regret(Choice.of(world.optimum())) == pytest.approx((0, 0), abs=1e-9)
    assert world.regret(Choice.of(natural_inside(world.prior, world.limits)))[1] == pytest.approx(1)
    # A schedule that draws the same in all has the same regret.
    halves = Choice(((0.5, world.optimum()), (1.0, world.optimum())))
    assert world.regret(halves)[0] == pytest.approx(0, abs=1e-9)


def test_bad_input_is_refused() -> None:
    world = SyntheticWorld("easy", 0)
    session = world.start(world.proxy)
    with pytest.raises(ProxyError, match="beyond the run's end"):
        session.advance(world.prior, world.proxy.steps + 1)
    with pytest.raises(ProxyError, match="sum to"):
        session.advance(world.prior * 2, 1)
    with pytest.raises(ProxyError, match="none negative"):
        session.advance(np.ones(2) / 2, 1)
    assert session.taken == 0
    with pytest.raises(StudyError, match="preset"):
        SyntheticWorld("difficult")
    with pytest.raises(StudyError, match="domains"):
        SyntheticWorld(WorldSettings(domains=1))
    with pytest.raises(StudyError, match="ended after"):
        world.regret(Choice(policy=lambda session: None))
    worn = {"worn", "worn_own", "worn_loose"}
    assert set(PRESETS) == {"easy", "interactions", "scarce", *worn, "many", "noisy", "sizes"}


def test_thousands_of_runs_take_seconds() -> None:
    import time

    world = SyntheticWorld("interactions", 0)
    mixtures = mixtures_of(world, 1000)
    started = time.process_time()
    world.train(mixtures, world.proxy)
    assert time.process_time() - started < 2


def test_each_size_has_an_optimum_of_its_own() -> None:
    world = SyntheticWorld("noisy", 0)
    both = np.array([world.optimum(size).vector(world.domains) for size in (world.proxy, world.target)])
    of_proxies, of_targets = world.true_objective(both, world.proxy), world.true_objective(both, world.target)
    assert of_proxies[0] < of_proxies[1]
    assert of_targets[1] < of_targets[0]
    assert world.optimum(world.target) == world.optimum()


def test_where_repetition_harms_one_number_of_epochs_is_best_for_each_domain() -> None:
    world = SyntheticWorld("worn_own", 4)
    best, unique = world.law.best_epochs, world.unique_tokens(world.target)
    assert best.max() > 2 * best.min() > 8
    peak, before, after = (
        world.law.new_tokens((epochs * unique)[None], unique) for epochs in (best, best * 0.97, best * 1.03)
    )
    assert (peak > before).all()
    assert (peak > after).all()
    allowed = world.limits.caps * world.epochs
    assert allowed == pytest.approx(np.minimum(best, world.epochs), rel=1e-4)  # caps are parts per million


def test_the_optimum_of_a_worn_world_may_lie_beyond_the_caps_that_are_given() -> None:
    """All three are the same world: what a cap forbids is lost, and the optimum is what is lost against."""
    worlds = [SyntheticWorld(preset, 4) for preset in ("worn", "worn_own", "worn_loose")]
    assert len({tuple(world.optimum().parts) for world in worlds}) == 1
    uniform = worlds[0]
    best = uniform.optimum().vector(uniform.domains)
    assert not uniform.limits.allow(best[None])[0]
    inside = uniform._best(uniform.target, uniform.limits)
    assert uniform.regret(Choice.of(inside))[1] > 0.02
    with pytest.raises(StudyError, match="without harm no number of epochs is best"):
        SyntheticWorld(WorldSettings(max_epochs=0))
