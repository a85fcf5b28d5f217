"""Searches find the best mixture inside the limits, say how sure they are, and repeat exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from regmix_pipeline.errors import MixtureError, RegressionError
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.laws.exponential import ExponentialLaw
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.search.assessment import law_disagrees
from regmix_pipeline.search.best import search
from regmix_pipeline.search.convex import is_convex, loss_expression
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.optimiser import _slsqp, optimise
from regmix_pipeline.search.pareto import dominated
from regmix_pipeline.search.region import Region, divergence
from regmix_pipeline.search.result import SearchResult
from regmix_pipeline.search.simulation import candidates, simulate
from regmix_pipeline.study.settings.search import GroupLimit, SearchSettings

DOMAINS = ("books", "code", "papers", "web")
PRIOR = np.array([0.1, 0.2, 0.3, 0.4])
FREE = Limits(DOMAINS, np.ones(4), np.zeros(4))
CAPPED = Limits(DOMAINS, np.array([0.3, 0.5, 0.6, 0.7]), np.array([0.0, 0.05, 0.0, 0.0]))
METHODS = ("simulation", "optimiser")


def found(fitted: FittedRegressor, limits: Limits = CAPPED, targets: Any = None, **settings: Any) -> SearchResult:
    given = SearchSettings(**{"candidates": 5000, "top_k": 32, "screen": 500} | settings)
    return search(fitted, PRIOR, limits, targets or {"prose": 1.0}, given, seed=3, say=lambda line: None)


def predicted(result: SearchResult, name: str, target: str = "objective") -> float:
    return next(row["predicted"] for row in result.predictions if (row["name"], row["target"]) == (name, target))


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_known_best_under_caps(fitted: FittedRegressor, method: str) -> None:
    result = found(fitted, method=method)
    weights = result.mixture.vector(DOMAINS)
    assert CAPPED.allow(weights[None], 1e-9)[0]
    # Books help prose most, web next: books go to their cap, web gets most of the rest, code its floor.
    assert weights[0] > 0.28
    assert weights[3] > 0.45
    assert weights[1] == pytest.approx(0.05, abs=0.03)
    assert predicted(result, "chosen") < min(predicted(result, "natural"), predicted(result, "uniform"))
    assert result.gain["chance_better_than_natural"] > 0.9
    assert result.gain["corrected"] == pytest.approx(result.gain["predicted"] - result.gain["optimism"])
    assert result.gain["low"] < result.gain["corrected"] < result.gain["high"]


@pytest.mark.parametrize("method", METHODS)
def test_repeats_exactly_and_is_json(fitted: FittedRegressor, method: str) -> None:
    first, second = (found(fitted, method=method).as_json() for _ in range(2))
    assert json.loads(json.dumps(first, allow_nan=False)) == json.loads(json.dumps(second, allow_nan=False))
    assert {"mixture", "parts", "domains", "predictions", "gain", "search", "active", "flags", "pareto"} == set(first)


def test_optimiser_is_at_least_as_good_as_a_large_simulation(fitted: FittedRegressor) -> None:
    natural = PRIOR
    region = Region.of(CAPPED, PRIOR, fitted.weights, SearchSettings())
    objective = Objective(fitted, {"prose": 1.0, "programs": 1.0}, natural)
    many = simulate(objective, region, SearchSettings(candidates=200_000, top_k=1), 0, lambda line: None)
    best = optimise(objective, region, SearchSettings(), 0, lambda line: None)
    assert best.how == "convex program"
    assert objective(best.weights[None])[0] <= many.values[0] + 1e-3


@pytest.mark.parametrize("target", ["prose", "programs"])
@pytest.mark.parametrize("nats", [0.02, 0.1, 0.5])
def test_a_simulation_with_few_candidates_left_is_no_worse_than_what_anybody_knows(
    fitted: FittedRegressor, target: str, nats: float
) -> None:
    """The mean of nearly all allowed candidates is the middle of the region, which may be worse than natural."""
    result = found(fitted, FREE, {target: 1.0}, method="simulation", max_divergence=nats, candidates=1500, top_k=128)
    weights = result.mixture.vector(DOMAINS)
    assert divergence(weights[None], PRIOR)[0] <= nats + 2e-4
    assert predicted(result, "chosen") <= predicted(result, "natural") + 1e-6
    uniform = np.full((1, 4), 0.25)
    if divergence(uniform, PRIOR)[0] <= nats:
        assert predicted(result, "chosen") <= predicted(result, "uniform") + 1e-6


def test_the_pure_law_speaks_beside_the_chosen_regressors(fitted: FittedRegressor) -> None:
    result = found(fitted, method="optimiser", targets={"prose": 2.0, "programs": 1.0})
    for row in result.predictions:
        assert row["law"] == "saturation"
        assert row["low"] < row["predicted_by_law"] < row["high"]  # a law that is right here
    by_law = {(row["name"], row["target"]): row["predicted_by_law"] for row in result.predictions}
    chosen = result.mixture.vector(DOMAINS)[None]
    assert by_law["chosen", "prose"] == pytest.approx(fitted.predict(chosen, "saturation")[0, 0])
    mean = (2 * by_law["chosen", "prose"] + by_law["chosen", "programs"]) / 3
    assert by_law["chosen", "objective"] == pytest.approx(mean)


def test_a_search_for_a_far_larger_run_lies_nearer_to_the_laws_optimum(fitted: FittedRegressor) -> None:
    shares = {"prose": 1.0}
    objectives = {part: Objective(replace(fitted, law_share=part), shares, PRIOR) for part in (0.0, 0.5, 1.0)}
    at = np.random.default_rng(0).dirichlet(np.ones(4), 20)
    none, half, all_law = (objectives[part].cautious(at) for part in objectives)
    assert half == pytest.approx((none + all_law) / 2)
    (near,) = fitted.searched
    assert near is not fitted
    assert all_law - near.objective_deviation(at, shares) == pytest.approx(near.objective(at, shares, "saturation"))
    region = Region.of(FREE, PRIOR, fitted.weights, SearchSettings())
    found = [optimise(each, region, SearchSettings(), 0, lambda line: None).weights for each in objectives.values()]
    by_law = near.objective(np.array(found), shares, "saturation") + near.objective_deviation(np.array(found), shares)
    assert by_law[2] <= by_law[1] + 1e-6 <= by_law[0] + 2e-6


def test_a_law_that_sees_no_gain_is_named() -> None:
    def row(name: str, predicted: float, by_law: float | None) -> dict[str, Any]:
        values = {"predicted": predicted, "law": "saturation", "predicted_by_law": by_law}
        return {"name": name, "target": "objective", **values}

    assert "no gain" in law_disagrees([row("natural", 3.0, 2.9), row("chosen", 2.8, 2.95)])[0]
    assert not law_disagrees([row("natural", 3.0, 2.9), row("chosen", 2.8, 2.85)])
    assert not law_disagrees([row("natural", 3.0, None), row("chosen", 2.8, None)])


def test_convex_program_and_slsqp_agree(fitted: FittedRegressor) -> None:
    settings = SearchSettings(groups=(GroupLimit(domains=("books", "papers"), cap=0.35),), max_divergence=0.5)
    region = Region.of(CAPPED, PRIOR, fitted.weights, settings)
    objective = Objective(fitted, {"prose": 1.0}, PRIOR)
    best = optimise(objective, region, settings, 0, lambda line: None)
    other = _slsqp(objective, region, "saturation", 0)
    assert best.convex is not None
    assert other is not None
    exact = best.convex.optimum()
    assert exact is not None
    assert objective(other[None], "saturation")[0] == pytest.approx(objective(exact[None], "saturation")[0], abs=1e-3)
    assert region.allow(np.array([exact, other]), 1e-5).all()


def test_every_limit_is_kept_and_named(fitted: FittedRegressor) -> None:
    groups = (GroupLimit(domains=("code", "papers"), floor=0.4),)
    result = found(fitted, method="optimiser", groups=groups, max_divergence=0.3, trust_radius=0.3)
    weights = result.mixture.vector(DOMAINS)
    assert weights[1] + weights[2] >= 0.4 - 1e-5
    assert divergence(weights[None], PRIOR)[0] <= 0.3 + 1e-3
    assert "group code, papers" in result.active
    assert Region.of(CAPPED, PRIOR, fitted.weights, SearchSettings(trust_radius=0.3)).allow(weights[None], 1e-5)[0]
    assert "cap of books" in found(fitted, method="optimiser").active


def test_worst_case_helps_the_target_that_gains_least(fitted: FittedRegressor) -> None:
    both = {"prose": 1.0, "programs": 1.0}
    gains = {}
    for objective in ("weighted", "worst_case"):
        result = found(fitted, FREE, both, method="optimiser", objective=objective)
        gains[objective] = [predicted(result, "natural", t) - predicted(result, "chosen", t) for t in both]
    assert min(gains["worst_case"]) >= min(gains["weighted"]) - 2e-3
    assert np.ptp(gains["worst_case"]) < np.ptp(gains["weighted"]) + 2e-3


def test_pareto_front_trades_one_target_for_the_other(fitted: FittedRegressor) -> None:
    front = found(fitted, FREE, {"prose": 1.0, "programs": 1.0}, method="optimiser", pareto_points=5).pareto
    assert len(front) >= 3
    losses = np.array([[row["losses"]["prose"], row["losses"]["programs"]] for row in front])
    assert not any(dominated(losses, i) for i in range(len(losses)))
    by_prose = losses[np.argsort(losses[:, 0])]
    assert (np.diff(by_prose[:, 1]) <= 0).all()


def test_sensitivity_and_ranges_belong_to_the_answer(fitted: FittedRegressor) -> None:
    result = found(fitted, method="optimiser")
    for row in result.domains:
        assert row["low"] - 1e-9 <= row["weight"] <= row["high"] + 1e-9
        assert row["floor"] - 1e-6 <= row["low"]
        assert row["high"] <= row["cap"] + 1e-6
        assert row["weakly_identified"] == (row["high"] - row["low"] > 0.1)
    by_name = {row["domain"]: row for row in result.domains}
    # More of what is capped would help; more of what is at its floor would hurt.
    assert by_name["books"]["sensitivity"] < 0 < by_name["code"]["sensitivity"]


def test_simulation_streams_the_same_candidates_whatever_is_kept() -> None:
    settings = SearchSettings(candidates=1000, top_k=10, block=300)
    blocks = list(candidates(PRIOR, settings, 5))
    assert [len(block) for block in blocks] == [300, 300, 300, 100]
    np.testing.assert_allclose(np.concatenate(blocks).sum(axis=1), 1.0)
    np.testing.assert_array_equal(blocks[1], list(candidates(PRIOR, settings, 5))[1])


def test_simulation_counts_what_breaks_a_limit(fitted: FittedRegressor) -> None:
    projected = found(fitted, method="simulation").search
    rejected = found(fitted, method="simulation", beyond_limits="reject").search
    assert projected["beyond_limits"] == rejected["beyond_limits"] > 0
    assert projected["scored"] == 5000
    assert rejected["scored"] == 5000 - rejected["beyond_limits"]
    assert rejected["beyond_limits_were"] == "rejected"


def test_screening_by_the_law_changes_little(fitted: FittedRegressor) -> None:
    screened = found(fitted, method="simulation", candidates=20_000, screen=1000)
    whole = found(fitted, method="simulation", candidates=20_000, screen=20_000)
    assert screened.search["screened_by"] == "saturation"
    assert whole.search["screened_by"] is None
    assert abs(predicted(screened, "chosen") - predicted(whole, "chosen")) < 2e-3


def test_natural_is_no_gain_over_itself(fitted: FittedRegressor) -> None:
    only = Limits(DOMAINS, PRIOR, PRIOR)
    result = found(fitted, only, method="simulation")
    assert result.mixture.vector(DOMAINS) == pytest.approx(PRIOR)
    assert result.gain["predicted"] == 0.0
    assert result.gain["chance_better_than_natural"] == 0.5


def test_optimism_is_larger_when_losses_are_noise(fitted: FittedRegressor) -> None:
    from dataclasses import replace

    from regmix_pipeline.search.assessment import optimism

    generator = np.random.default_rng(0)
    noisy = replace(fitted, losses=3 + generator.normal(0, 0.3, fitted.losses.shape))
    region = Region.of(FREE, PRIOR, fitted.weights, SearchSettings())
    told = [optimism(Objective(one, {"prose": 1.0}, PRIOR), PRIOR, region, 0) for one in (fitted, noisy)]
    assert told[1] > 5 * told[0]


@pytest.mark.parametrize("law", [SaturationLaw, ExponentialLaw])
def test_cvxpy_sees_the_same_law(law: type, fitted: FittedRegressor) -> None:
    import cvxpy as cp

    model = law().fit(fitted.weights, fitted.losses)
    w = cp.Variable(4, nonneg=True)
    for column in range(2):
        if not is_convex(model, column):
            continue
        expression = loss_expression(model, column, w)
        assert expression.is_convex()
        for row in fitted.weights[:5]:
            w.value = row
            assert expression.value == pytest.approx(model.predict(row[None])[0, column], abs=1e-6)
    assert is_convex(model, 0)


def test_impossible_questions_are_refused(fitted: FittedRegressor) -> None:
    tight = Limits(DOMAINS, np.full(4, 0.2), np.zeros(4))
    with pytest.raises(MixtureError, match="caps sum to"):
        found(fitted, tight)
    with pytest.raises(MixtureError, match="different domains"):
        found(fitted, Limits(DOMAINS[::-1], np.ones(4), np.zeros(4)))
    with pytest.raises(RegressionError, match="unknown targets"):
        found(fitted, targets={"poems": 1.0})
    far = Limits(DOMAINS, np.ones(4), np.array([0.9, 0.0, 0.0, 0.0]))
    with pytest.raises(MixtureError, match="no mixture respects"):
        found(fitted, far, method="optimiser", max_divergence=0.05)
    with pytest.raises(MixtureError, match="none of 5000 candidates"):
        found(fitted, far, method="simulation", max_divergence=0.05)
