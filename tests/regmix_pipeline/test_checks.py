"""Every check can fail, and says what is wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline import checks
from regmix_pipeline.engine.ledger import build_ledger, read_ledger
from regmix_pipeline.engine.parts import write_part
from regmix_pipeline.engine.records import Record, Records, now
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.files import sha256_of


@pytest.fixture
def ledger(tmp_path):
    """Make a ledger from rows: ``ledger(mixtures=[...], ...)``; columns not given are NULL."""

    def make(**tables):
        records = Records(tmp_path / "records")
        for name, rows in tables.items():
            columns = TABLES[name].schema.names
            whole = [dict.fromkeys(columns) | {"version": "v"} | row for row in rows]
            path = write_part(tmp_path / "tables", name, "v", whole)
            sums = {path.relative_to(tmp_path).as_posix(): sha256_of(path)}
            records.save(Record(TABLES[name].assets[0], "all", "v", "r", {}, {}, {}, (), now(), 0.0, "", sums))
        return read_ledger(build_ledger(records, tmp_path / "tables", tmp_path / "ledger.duckdb"))

    return make


def weights_of(mixture, origin="sampled", drawn_under="v", **weights):
    common = {"mixture": mixture, "origin": origin, "round": None, "drawn_under": drawn_under}
    return [common | {"domain": domain, "weight": weight} for domain, weight in weights.items()]


INVENTORY = [{"source": "a", "cap": 0.6}, {"source": "b", "cap": 1.0}]


def test_mixtures_must_sum_to_one_and_keep_the_caps_of_their_draw(ledger):
    good = weights_of("m1", a=0.5, b=0.5)
    with ledger(mixtures=good, domain_inventory=INVENTORY) as connection:
        assert checks.mixtures_on_simplex(connection).passed
    with ledger(mixtures=good + weights_of("m2", a=0.5, b=0.4), domain_inventory=INVENTORY) as connection:
        finding = checks.mixtures_on_simplex(connection)
        assert not finding.passed
        assert "m2" in finding.description
    with ledger(mixtures=weights_of("m3", a=0.7, b=0.3), domain_inventory=INVENTORY) as connection:
        assert not checks.mixtures_on_simplex(connection).passed
    with ledger(mixtures=weights_of("m3", None, None, a=0.7, b=0.3), domain_inventory=INVENTORY) as connection:
        assert checks.mixtures_on_simplex(connection).passed
    of_then = weights_of("m3", drawn_under="before", a=0.7, b=0.3)
    with ledger(mixtures=of_then, domain_inventory=INVENTORY) as connection:
        finding = checks.mixtures_on_simplex(connection)
        assert finding.passed
        assert "1 are above a cap of today: evidence" in finding.description
        assert "1 were drawn under an inventory that is lost" in finding.description
    with ledger(mixtures=weights_of("m4", a=1.2, b=-0.2), domain_inventory=INVENTORY) as connection:
        assert not checks.mixtures_on_simplex(connection).passed


def test_executed_tokens_may_be_one_window_off(ledger):
    def proxies(drawn):
        return [
            {"proxy": "p", "domain": "a", "weight": 0.5, "executed_tokens": drawn},
            {"proxy": "p", "domain": "b", "weight": 0.5, "executed_tokens": 1000 - drawn},
        ]

    with ledger(proxies=proxies(440)) as connection:
        assert checks.executed_tokens_match(connection, 64).passed
    with ledger(proxies=proxies(430)) as connection:
        finding = checks.executed_tokens_match(connection, 64)
        assert not finding.passed
        assert "70 tokens" in finding.description
    with ledger() as connection:
        assert not checks.executed_tokens_match(connection, 64).passed


def test_losses_must_be_finite_and_complete(ledger):
    proxies = [{"proxy": "p1"}, {"proxy": "p2"}]

    def loss(proxy, target, value, final=True):
        return {"proxy": proxy, "target": target, "loss": value, "standard_error": 0.1, "final": final}

    whole = [loss(proxy, target, 3.0) for proxy in ("p1", "p2") for target in ("x", "y")]
    with ledger(proxies=proxies, proxy_losses=whole) as connection:
        assert checks.losses_complete(connection, ["x", "y"]).passed
    with ledger(proxies=proxies, proxy_losses=whole[:3]) as connection:
        finding = checks.losses_complete(connection, ["x", "y"])
        assert not finding.passed
        assert "y: 1 of 2" in finding.description
        assert not checks.losses_complete(connection, ["x", "y"], so_far=True).passed
    with ledger(proxies=proxies, proxy_losses=whole[:2]) as connection:
        # One of two proxies was evaluated: right so far, not yet complete.
        assert checks.losses_complete(connection, ["x", "y"], so_far=True).passed
        assert not checks.losses_complete(connection, ["x", "y"]).passed
    with ledger(proxies=proxies, proxy_losses=[*whole, loss("p1", "x", float("nan"), False)]) as connection:
        assert not checks.losses_complete(connection, ["x", "y"]).passed


def test_rank_correlation_below_its_floor_is_said(ledger):
    scores = [
        {"target": "x", "metric": "spearman", "split": "random", "value": 0.7, "chosen": True},
        {"target": "x", "metric": "spearman", "split": "random", "value": 0.9, "chosen": False},
    ]
    with ledger(regressor_scores=scores) as connection:
        assert checks.rank_correlation(connection, ["x"], 0.6).passed
        finding = checks.rank_correlation(connection, ["x"], 0.8)
        assert not finding.passed
        assert "0.700" in finding.description
        assert not checks.rank_correlation(connection, ["x", "y"], 0.1).passed


def test_intervals_that_hold_too_little_or_too_much_are_said(ledger):
    out_of_fold = [{"mixture": f"m{i}", "target": "x"} for i in range(400)]

    def covered(share):
        return [{"target": "x", "metric": "coverage", "split": "random", "value": share, "chosen": True}]

    for share, passed in ((0.9, True), (0.86, True), (0.8, False), (0.99, False)):
        with ledger(out_of_fold=out_of_fold, regressor_scores=covered(share)) as connection:
            assert checks.interval_coverage(connection, ["x"], 0.9).passed is passed
    # Of ten mixtures, eight held ones are not a sign that the level is wrong.
    with ledger(out_of_fold=out_of_fold[:10], regressor_scores=covered(0.8)) as connection:
        assert checks.interval_coverage(connection, ["x"], 0.9).passed
    with ledger(out_of_fold=out_of_fold) as connection:
        assert not checks.interval_coverage(connection, ["x"], 0.9).passed


def test_the_optimum_must_keep_its_limits(ledger):
    def optimum(a, cap=1.0, floor=0.0):
        return [
            {"domain": "a", "weight": a, "cap": cap, "floor": floor},
            {"domain": "b", "weight": 1 - a, "cap": 1.0, "floor": 0.0},
        ]

    for rows, passed in ((optimum(0.4), True), (optimum(0.4, cap=0.3), False), (optimum(0.4, floor=0.5), False)):
        with ledger(optimal_mixture=rows) as connection:
            assert checks.optimum_within_limits(connection).passed is passed
    with ledger(optimal_mixture=optimum(0.4)[:1]) as connection:
        assert not checks.optimum_within_limits(connection).passed


def test_a_decision_farther_out_than_the_trained_mixtures_is_noticed(ledger):
    trained = [
        row
        for i, a in enumerate((0.5, 0.6, 0.7, 0.8, 0.9))
        for row in weights_of(f"m{i}", a=a, b=round(1 - a, 6), c=0.0)
    ]

    def optimum(**weights):
        return [{"domain": domain, "weight": weight} for domain, weight in weights.items()]

    with ledger(mixtures=trained, optimal_mixture=optimum(a=0.65, b=0.35)) as connection:
        assert checks.inside_sampled_region(connection).passed
    # The outermost mixtures lie 0.1 from the hull of the others, so 0.05 is no farther than the scores support.
    with ledger(mixtures=trained, optimal_mixture=optimum(a=0.95, b=0.05)) as connection:
        assert checks.inside_sampled_region(connection).passed
    with ledger(mixtures=trained, optimal_mixture=optimum(a=0.5, b=0.3, c=0.2)) as connection:
        finding = checks.inside_sampled_region(connection)
        assert not finding.passed
        assert finding.facts["distance"] == pytest.approx(0.2, abs=1e-6)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 10))
@settings(max_examples=30, deadline=None)
def test_a_mean_of_points_is_in_their_hull_and_a_new_corner_is_not(seed, domains, count):
    generator = np.random.default_rng(seed)
    points = generator.dirichlet(np.ones(domains), size=count)
    assert checks.distance_to_hull(generator.dirichlet(np.ones(count)) @ points, points) < 1e-7
    outside = np.append(np.zeros(domains), 1.0)
    assert checks.distance_to_hull(outside, np.hstack([points, np.zeros((count, 1))])) == pytest.approx(1.0)
