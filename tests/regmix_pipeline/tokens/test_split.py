from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.tokens.split import split_of, text_digest

SEEDS = st.integers(-(2**40), 2**40)
FRACTIONS = st.floats(0.001, 0.999)


@given(st.text(), SEEDS, FRACTIONS)
def test_a_pure_function_of_text_and_seed(text, seed, fraction):
    again = "".join(list(text))
    assert split_of(text_digest(text), seed, fraction) == split_of(text_digest(again), seed, fraction)


@given(st.text(), SEEDS, FRACTIONS, FRACTIONS)
def test_a_larger_fraction_keeps_what_a_smaller_one_had(text, seed, one, other):
    smaller, larger = sorted((one, other))
    if split_of(text_digest(text), seed, smaller) == "validation":
        assert split_of(text_digest(text), seed, larger) == "validation"


@given(st.lists(st.text(), unique=True, max_size=50))
def test_different_texts_have_different_digests(texts):
    assert len({text_digest(text) for text in texts}) == len(texts)


@given(SEEDS, st.sampled_from([0.02, 0.1, 0.5, 0.9]))
def test_the_fraction_is_near_the_one_asked_for(seed, fraction):
    count = 4000
    drawn = sum(split_of(text_digest(f"document {n}"), seed, fraction) == "validation" for n in range(count))
    # Six standard deviations: wrong in about one of 10^9 draws.
    assert abs(drawn - fraction * count) < 6 * (count * fraction * (1 - fraction)) ** 0.5


def test_seeds_draw_differently():
    digests = [text_digest(f"document {n}") for n in range(1000)]
    one, other = ([split_of(digest, seed, 0.5) for digest in digests] for seed in (1, 2))
    assert 400 < sum(a == b for a, b in zip(one, other, strict=True)) < 600
    # Fixed forever: another value here would move text between splits of shards that exist.
    assert [split_of(text_digest(text), 0, 0.5) for text in "abc"] == ["train", "train", "validation"]
