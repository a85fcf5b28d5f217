"""The answer keeps every guardrail by the regressors' own predictions, or an error names what nothing keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.best import search
from regmix_pipeline.search.guardrails import TOLERANCE
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.result import SearchResult
from regmix_pipeline.study.settings.search import GroupLimit, Guardrail, SearchSettings

DOMAINS = ("books", "code", "papers", "web")
PRIOR = np.array([0.1, 0.2, 0.3, 0.4])
LIMITS = Limits(DOMAINS, np.array([0.6, 0.7, 0.8, 0.9]), np.zeros(4))
METHODS = ("simulation", "optimiser")


def found(fitted: FittedRegressor, *guardrails: Guardrail, targets: Any = None, **asked: Any) -> SearchResult:
    given = SearchSettings(**{"candidates": 3000, "top_k": 32, "screen": 500, "guardrails": guardrails} | asked)
    return search(fitted, PRIOR, LIMITS, targets or {"prose": 1.0}, given, seed=3, say=lambda line: None)


def differences(fitted: FittedRegressor, result: SearchResult) -> dict[str, float]:
    """Predicted loss of the chosen mixture less that of the natural one, by target, asked of the regressors anew."""
    natural = next(row for row in result.predictions if row["name"] == "natural")
    at_natural = {row["target"]: row["predicted"] for row in result.predictions if row["name"] == natural["name"]}
    at_chosen = fitted.predict(result.mixture.vector(DOMAINS)[None])[0]
    return {name: float(loss - at_natural[name]) for name, loss in zip(fitted.targets, at_chosen, strict=True)}


@settings(max_examples=12)
@given(
    worse_by=st.lists(st.floats(-0.02, 0.3), min_size=2, max_size=2),
    method=st.sampled_from(METHODS),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    cap=st.sampled_from([None, 0.35]),
    worst=st.booleans(),
)
def test_the_answer_keeps_every_guardrail(
    fitted: FittedRegressor, worse_by: list[float], method: str, share: float, cap: float | None, worst: bool
) -> None:
    groups = () if cap is None else (GroupLimit(domains=("books", "web"), cap=cap),)
    asked = [Guardrail(targets=(name,), worse_by=each) for name, each in zip(fitted.targets, worse_by, strict=True)]
    weights = {"prose": 1 - share, "programs": share}
    kind = "worst_case" if worst else "weighted"
    try:
        result = found(fitted, *asked, targets=weights, method=method, groups=groups, objective=kind)
    except MixtureError:
        # Without a group the natural mixture is allowed, and keeps what asks for no improvement.
        if not groups and min(worse_by) >= 0:
            raise
        return
    away = differences(fitted, result)
    assert LIMITS.allow(result.mixture.vector(DOMAINS)[None], 1e-9)[0]
    for row, asked_for in zip(result.guardrails, worse_by, strict=True):
        assert away[row["target"]] <= asked_for + 2 * TOLERANCE
        assert row["slack"] == pytest.approx(asked_for - away[row["target"]], abs=1e-8)
        assert row["active"] == (f"guardrail of {row['target']}" in result.active)


@pytest.mark.parametrize("method", METHODS)
def test_a_guardrail_costs_what_it_protects_and_no_more(fitted: FittedRegressor, method: str) -> None:
    free = found(fitted, method=method)
    lost = differences(fitted, free)["programs"]
    assert lost > 0.1
    bound = lost / 2
    held = found(fitted, Guardrail(targets=("programs",), worse_by=bound), method=method)
    assert differences(fitted, held)["programs"] <= bound + TOLERANCE
    assert 0 < held.gain["predicted"] < free.gain["predicted"]
    if method == "optimiser":
        assert held.active[-1] == "guardrail of programs"
        # Nothing of a fine grid that keeps the guardrail is better by more than a search may miss.
        generator = np.random.default_rng(1)
        grid = generator.dirichlet(np.ones(4), 20_000)
        grid = grid[LIMITS.allow(grid)]
        natural = np.array([row["predicted"] for row in held.predictions if row["name"] == "natural"])
        objective = Objective.of(
            fitted,
            {"prose": 1.0},
            PRIOR,
            SearchSettings(guardrails=(Guardrail(targets=("programs",), worse_by=bound),)),
        )
        best = fitted.objective(grid[objective.keeps(grid)], {"prose": 1.0}).min()
        assert natural[0] - held.gain["predicted"] < best + 0.01


@pytest.mark.parametrize("method", METHODS)
def test_a_guardrail_that_holds_nothing_changes_nothing(fitted: FittedRegressor, method: str) -> None:
    free = found(fitted, method=method)
    loose = found(fitted, Guardrail(worse_by=5.0), method=method)
    assert differences(fitted, loose)["prose"] == pytest.approx(differences(fitted, free)["prose"], abs=3e-3)
    assert [row["target"] for row in loose.guardrails] == list(fitted.targets)
    assert not any(row["active"] for row in loose.guardrails)
    assert "guardrails" not in free.as_json()


@pytest.mark.parametrize("method", METHODS)
def test_what_nothing_keeps_is_named_with_the_nearest(fitted: FittedRegressor, method: str) -> None:
    with pytest.raises(MixtureError) as caught:
        found(fitted, Guardrail(targets=("prose",), worse_by=0.5), Guardrail(worse_by=-0.9), method=method)
    assert caught.value.where == "search.guardrails"
    assert "of the nearest, " in caught.value.problem
    assert "at most -0.9000 is allowed" in caught.value.problem
    assert "raise worse_by of " in caught.value.remedy


def test_the_strictest_of_several_holds_and_an_unknown_target_is_named(fitted: FittedRegressor) -> None:
    result = found(fitted, Guardrail(worse_by=0.2), Guardrail(targets=("programs",), worse_by=0.05))
    assert {row["target"]: row["worse_by"] for row in result.guardrails} == {"prose": 0.2, "programs": 0.05}
    with pytest.raises(MixtureError, match="'poems' is not a target"):
        found(fitted, Guardrail(targets=("poems",)))


def test_other_optima_between_the_targets_keep_them_too(fitted: FittedRegressor) -> None:
    both = {"prose": 0.5, "programs": 0.5}
    result = found(fitted, Guardrail(worse_by=0.02), targets=both, pareto_points=3)
    natural = {row["target"]: row["predicted"] for row in result.predictions if row["name"] == "natural"}
    assert result.pareto
    for row in result.pareto:
        assert all(loss <= natural[name] + 0.02 + 1e-8 for name, loss in row["losses"].items())
