"""Bigram counts of training text: exact, streamed, and smoothed as held-out text asks."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.ngrams import counts
from regmix_pipeline.ngrams.counts import SMOOTHING, UNSEEN, probabilities

VOCABULARY = 7
TOKENS = st.integers(0, VOCABULARY - 1)


def windows(length):
    return st.lists(st.lists(TOKENS, min_size=length, max_size=length), min_size=1, max_size=5).map(
        lambda rows: np.array(rows, dtype=np.int64)
    )


def by_hand(text, before, after, k):
    """The same probability from Python's own counters."""
    single, pairs = Counter(text), Counter(pairwise(text))
    frequency = (single[after] + UNSEEN) / (len(text) + UNSEEN * VOCABULARY)
    return (pairs[before, after] + k * frequency) / (max(single[before], pairs[before, after]) + k)


@given(st.lists(TOKENS, min_size=2, max_size=80), windows(4), windows(5))
def test_is_what_counting_by_hand_gives(text, sample, held_out):
    found, k, counted = probabilities(np.array(text, dtype=np.uint16), {"target": sample}, held_out, VOCABULARY, 10**6)
    assert counted == len(text)
    assert k in SMOOTHING
    expected = [by_hand(text, row[i], row[i + 1], k) for row in sample.tolist() for i in range(len(row) - 1)]
    np.testing.assert_allclose(found["target"], expected)


@given(st.lists(TOKENS, min_size=2, max_size=80), windows(3))
def test_smoothing_is_the_best_of_those_tried_on_held_out_text(text, held_out):
    _, k, _ = probabilities(np.array(text, dtype=np.uint16), {}, held_out, VOCABULARY, 10**6)

    def loss(each):
        rows = held_out.tolist()
        return -np.mean([np.log(by_hand(text, row[i], row[i + 1], each)) for row in rows for i in range(len(row) - 1)])

    assert loss(k) == pytest.approx(min(loss(each) for each in SMOOTHING))


def test_probabilities_of_all_tokens_after_one_sum_to_one():
    text = np.random.default_rng(0).integers(0, VOCABULARY, 500).astype(np.uint16)
    text[-1] = 0  # the last token is followed by none: one count of its context is missing
    pairs = np.array([[3, after] for after in range(VOCABULARY)])
    found, _, _ = probabilities(text, {"all": pairs}, pairs, VOCABULARY, 10**6)
    assert found["all"].sum() == pytest.approx(1)


def test_a_long_text_is_counted_in_blocks_and_up_to_a_number_of_tokens(monkeypatch):
    text = np.random.default_rng(0).integers(0, VOCABULARY, 1000).astype(np.uint32)
    sample = np.array([[0, 1, 2, 3]])
    whole, _, counted = probabilities(text, {"target": sample}, sample, VOCABULARY, 10**6)
    assert counted == 1000
    monkeypatch.setattr(counts, "BLOCK", 100)
    blocks, _, counted = probabilities(text, {"target": sample}, sample, VOCABULARY, 10**6)
    assert counted == 1000
    # Only bigrams across the ends of blocks are missed.
    np.testing.assert_allclose(blocks["target"], whole["target"], atol=0.02)
    _, _, counted = probabilities(text, {"target": sample}, sample, VOCABULARY, 350)
    assert counted == 300
