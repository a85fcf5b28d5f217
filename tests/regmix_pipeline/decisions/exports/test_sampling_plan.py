"""The sampling plan: exact sums, whole epochs, and caps that are kept."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.formats.data import DataFile, DomainData
from regmix_pipeline.formats.plan import apportion, by_domain, sampling_plan
from regmix_pipeline.mixtures.mixture import Mixture

DOMAINS = ("web", "code", "books", "law")
SIZES = st.lists(st.integers(1, 10**12), min_size=1, max_size=5)


@st.composite
def questions(draw):
    """A decision's weights, the tokens in every domain's files, and a budget up to trillions of tokens."""
    names = DOMAINS[: draw(st.integers(1, len(DOMAINS)))]
    raw = {name: draw(st.floats(0.001, 1)) for name in names}
    files = {name: draw(SIZES) for name in names}
    return Mixture.from_weights(raw).weights, files, draw(st.integers(1, 20 * 10**12))


def data_of(files):
    return {
        name: DomainData(tuple(DataFile(f"/{name}/{n}", size) for n, size in enumerate(sizes)), sum(sizes))
        for name, sizes in files.items()
    }


def test_tokens_of_earlier_phases_count_against_the_epochs():
    data = data_of({"web": [1_000], "code": [100]})
    limits = {"max_epochs": 4, "before": {"code": 300}}
    plan = sampling_plan({"web": 0.75, "code": 0.25}, data, 400, **limits)
    assert [row.tokens for row in plan] == [300, 100]
    with pytest.raises(MixtureError, match=r"after 300 in earlier phases: 5\.00 epochs break the cap of 4") as caught:
        sampling_plan({"web": 0.75, "code": 0.25}, data, 800, **limits)
    assert "a budget of at most 400 tokens" in caught.value.remedy


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**13), min_size=1, max_size=20))
def test_apportioned_numbers_sum_exactly_and_are_within_one_of_their_share(total, sizes):
    assume(any(sizes))
    found = apportion(total, sizes)
    assert sum(found) == total
    for size, got in zip(sizes, found, strict=True):
        low = total * size // sum(sizes)
        assert got in (low, low + 1)
        assert size or not got


@given(questions())
def test_a_plan_sums_to_the_budget_and_follows_the_weights(question):
    weights, files, budget = question
    plan = sampling_plan(weights, data_of(files), budget, max_epochs=float("inf"))
    assert sum(row.tokens for row in plan) == budget
    for row in by_domain(plan, data_of(files)):
        assert abs(row["tokens"] - weights[row["domain"]] * budget) <= 1 + budget * 1e-12
        assert row["files"] == len(files[row["domain"]])


@given(questions())
def test_every_file_is_read_whole_as_often_as_its_domain(question):
    weights, files, budget = question
    plan = sampling_plan(weights, data_of(files), budget, max_epochs=float("inf"))
    for domain, sizes in files.items():
        rows = [row for row in plan if row.domain == domain]
        assert [row.available for row in rows] == sizes
        whole = sum(row.tokens for row in rows) // sum(sizes)
        for row in rows:
            assert whole * row.available <= row.tokens <= (whole + 1) * row.available
            assert row.whole_epochs * row.available + row.partial_tokens == row.tokens
            assert row.epochs == pytest.approx(row.tokens / row.available)


@given(questions(), st.floats(1, 10))
def test_no_plan_breaks_the_cap_on_epochs_and_the_budget_it_names_keeps_it(question, most):
    weights, files, budget = question
    data = data_of(files)
    refused = None
    try:
        plan = sampling_plan(weights, data, budget, most)
    except MixtureError as error:
        refused = error
    if refused is not None:
        worst = max(weights, key=lambda name: weights[name] / sum(files[name]))
        assert refused.where.startswith("domains.")
        assert weights[worst] * budget > most * sum(files[worst]) - 1
        named = int(refused.remedy.split("at most ")[1].split(" tokens")[0].replace(",", ""))
        assert named < budget
        assume(named >= 1)
        plan = sampling_plan(weights, data, named, most)
    for row in by_domain(plan, data):
        assert row["tokens"] <= most * row["available_tokens"] + 1


def test_a_weight_above_its_domains_cap_is_refused():
    weights = {"web": 0.7, "code": 0.3}
    data = data_of({"web": [10_000], "code": [10_000]})
    with pytest.raises(MixtureError, match=r"domains\.web.*above the cap 0\.5") as caught:
        sampling_plan(weights, data, 1_000, 4.0, {"web": 0.5})
    assert "decide again" in caught.value.remedy
    assert sampling_plan(weights, data, 1_000, 4.0, {"web": 0.7})


def test_a_domain_whose_files_nobody_counted_is_one_row():
    data = {"web": DomainData((DataFile("s3://b/web/*"),), None), "code": DomainData((DataFile("s3://b/code/*"),), 50)}
    plan = sampling_plan({"web": 0.9, "code": 0.1}, data, 1_000, 4.0)
    assert [(row.address, row.tokens, row.epochs) for row in plan] == [
        ("s3://b/web/*", 900, None),
        ("s3://b/code/*", 100, 2.0),
    ]
    assert np.isclose(sum(row["share"] for row in by_domain(plan, data)), 1)
