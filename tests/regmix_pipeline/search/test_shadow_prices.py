"""What a cap costs is what the search gains without it."""

from dataclasses import replace

import numpy as np
import pytest

from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.search.best import asked, search
from regmix_pipeline.search.shadow_prices import shadow_prices
from regmix_pipeline.study.settings.search import GroupLimit, SearchSettings

PRIOR = np.array([0.2, 0.2, 0.1, 0.5])
OBJECTIVE = {"prose": 0.5, "programs": 0.5}
RATES = {"code": 20.0, "books": 10.0}


def prices_of(fitted, caps, settings=None):
    settings = settings or SearchSettings()
    limits = Limits(fitted.domains, np.array(caps), np.zeros(4))
    found = search(fitted, PRIOR, limits, OBJECTIVE, settings, say=lambda line: None)
    question = asked(fitted, PRIOR, limits, OBJECTIVE, settings)
    return found, shadow_prices(*question, found.mixture.vector(fitted.domains), RATES)


@pytest.fixture(scope="module")
def capped(fitted):
    """Code, which the objective wants a third of, at a fifth at most."""
    return prices_of(fitted, [1.0, 0.2, 1.0, 1.0])


def test_a_cap_is_priced_by_what_a_search_without_it_gains(fitted, capped):
    found, (row,) = capped
    assert row["limit"] == "cap of code"
    assert row["epochs"] == pytest.approx(4)
    assert row["further"]["epochs"] == pytest.approx(6)
    wider = Limits(fitted.domains, np.array([1.0, 0.3, 1.0, 1.0]), np.zeros(4))
    freed = search(fitted, PRIOR, wider, OBJECTIVE, say=lambda line: None)
    losses = fitted.objective(np.array([each.mixture.vector(fitted.domains) for each in (found, freed)]), OBJECTIVE)
    assert row["further"]["gain"] == pytest.approx(losses[0] - losses[1], rel=0.1)
    assert row["further"]["low"] < row["further"]["gain"] < row["further"]["high"]
    assert row["further"]["measured"]


def test_the_price_is_the_slope_at_the_cap(capped):
    _, (row,) = capped
    # Half as much room again is ten points: worth less than ten times a point, since returns diminish.
    assert row["price_per_point"] * 10 > row["further"]["gain"] > 0
    # A point is a fifth of an epoch.
    assert row["price_per_epoch"] == pytest.approx(5 * row["price_per_point"])


def test_a_cap_that_does_not_hold_has_no_price(fitted):
    found, rows = prices_of(fitted, [1.0, 0.9, 1.0, 1.0])
    assert not any(row["at_cap"] for row in found.domains)
    assert rows == []


def test_a_groups_cap_has_a_price_without_epochs(fitted):
    settings = SearchSettings(groups=(GroupLimit(domains=("books", "code"), cap=0.4),))
    _, (row,) = prices_of(fitted, [1.0] * 4, settings)
    assert (row["limit"], row["domain"], row["epochs"], row["price_per_epoch"]) == (
        "group books, code",
        None,
        None,
        None,
    )
    assert row["price_per_point"] > 0


def test_without_a_process_there_is_no_interval(fitted):
    _, (row,) = prices_of(replace(fitted, process_name="none"), [1.0, 0.2, 1.0, 1.0])
    assert (row["further"]["low"], row["further"]["high"]) == (None, None)
