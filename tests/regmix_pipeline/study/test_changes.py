"""What became of domains, and what earlier runs are worth under each operation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regmix_pipeline.study.changes import Change, read_today

WEB = {"web": 0.6, "code": 0.3, "books": 0.1}
SPLIT = Change(split="web", into={"web_en": 0.7, "web_de": 0.3})
MERGE = Change(merge={"code": 0.75, "books": 0.25}, into_one="texts")


def test_arrival_changes_nothing():
    reading = read_today(WEB, [], {"web", "code", "books", "new"}, 0.02)
    assert reading.weights == WEB
    assert reading.rules == ()
    assert not reading.refused


def test_a_split_is_exact():
    reading = read_today(WEB, [SPLIT], {"web_en", "web_de", "code", "books"}, 0.02)
    assert reading.weights == pytest.approx({"web_en": 0.42, "web_de": 0.18, "code": 0.3, "books": 0.1})
    assert reading.rules == ("split of web",)


def test_a_merge_needs_the_shares():
    domains = {"web", "texts"}
    assert read_today(WEB, [MERGE], domains, 0.02).weights == pytest.approx({"web": 0.6, "texts": 0.4})
    other = read_today({"web": 0.6, "code": 0.1, "books": 0.3}, [MERGE], domains, 0.02)
    assert "merge into texts: its weights are 20.0% off" in other.refused
    assert read_today({"web": 1.0}, [MERGE], domains, 0.02).weights == {"web": 1.0}


def test_a_withdrawn_domain_is_left_out_or_kept_as_a_coordinate():
    little = read_today({"web": 0.99, "books": 0.01}, [], {"web", "code"}, 0.02)
    assert little.weights == {"web": 1.0}
    assert little.rules == ("withdrawal of books: 1.00% left out",)
    much = read_today(WEB, [], {"web", "code"}, 0.02)
    assert much.weights == WEB
    assert "kept as a coordinate" in much.rules[0]
    refused = read_today(WEB, [Change(withdraw="books", evidence="drop")], {"web", "code"}, 0.02)
    assert "drew 10.0% on it" in refused.refused
    others = {"web": 0.9, "books": 0.01, "old": 0.09}
    assert not read_today(others, [Change(withdraw="books", evidence="drop")], {"web"}, 0.02).refused


def test_changes_follow_each_other():
    chain = [SPLIT, Change(merge={"web_de": 0.5, "books": 0.5}, into_one="rest"), Change(revise="code")]
    reading = read_today({"web": 0.5, "books": 0.15, "code": 0.35}, chain, {"web_en", "rest", "code"}, 0.02)
    assert reading.weights == pytest.approx({"web_en": 0.35, "rest": 0.3, "code": 0.35})
    assert reading.rules == ("split of web", "merge into rest")


@given(st.dictionaries(st.sampled_from(["web", "code", "books", "old"]), st.floats(0.01, 1), min_size=1))
def test_what_is_read_sums_to_one(weights):
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    reading = read_today(shares, [SPLIT, MERGE], {"web_en", "web_de", "texts"}, 0.05)
    if not reading.refused:
        assert sum(reading.weights.values()) == pytest.approx(1)
        assert min(reading.weights.values()) > 0


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "exactly one of"),
        ({"split": "a", "revise": "b", "into": {"c": 1.0}}, "exactly one of"),
        ({"split": "a"}, "split goes with into"),
        ({"merge": {"a": 0.5, "b": 0.5}}, "merge with into_one"),
        ({"split": "a", "into": {"b": 0.5, "c": 0.6}}, "sum to 1"),
        ({"split": "a", "into": {"b": 1.0}}, "two domains"),
    ],
)
def test_half_said_changes_are_refused(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        Change(**fields)
