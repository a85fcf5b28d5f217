"""The confirmation's verdict follows from the losses alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.report.confirmation_summary import by_target, confirmation_summary, tally
from regmix_pipeline.report.data import Measured

LOSSES = st.lists(st.floats(1, 10), min_size=1, max_size=4)


def _rows(name: str, losses: list[float], predicted: float | None = None, target: str = "t") -> list[Measured]:
    return [Measured(name, seed, target, loss, 0.01, predicted) for seed, loss in enumerate(losses)]


@given(LOSSES, LOSSES)
def test_outcome(chosen: list[float], natural: list[float]) -> None:
    found = confirmation_summary(by_target([*_rows("chosen", chosen), *_rows("natural", natural)])["t"], "t")
    assert found is not None
    if max(chosen) < min(natural):
        assert found.outcome == "held"
    elif min(chosen) > max(natural):
        assert found.outcome == "against"
    else:
        assert found.outcome == "unclear"


@given(LOSSES, LOSSES)
def test_swapping_the_mixtures_turns_the_verdict(chosen: list[float], natural: list[float]) -> None:
    turned = {"held": "against", "against": "held", "unclear": "unclear"}
    one = confirmation_summary(by_target([*_rows("chosen", chosen), *_rows("natural", natural)])["t"], "t")
    other = confirmation_summary(by_target([*_rows("chosen", natural), *_rows("natural", chosen)])["t"], "t")
    assert one is not None
    assert other is not None
    assert other.outcome == turned[one.outcome]


def test_order() -> None:
    rows = [*_rows("chosen", [3.0], 4.0), *_rows("natural", [3.2], 4.3), *_rows("uniform", [3.1], 4.4)]
    result = by_target(rows)["t"]
    assert result.predicted_order == ("chosen", "natural", "uniform")
    assert result.measured_order == ("chosen", "uniform", "natural")
    assert result.held is False
    found = confirmation_summary(result, "t")
    assert found is not None
    assert "measured was chosen, uniform and natural" in found.sentences[-1]


def test_one_seed_claims_no_spread() -> None:
    found = confirmation_summary(by_target([*_rows("chosen", [3.0]), *_rows("natural", [3.2])])["t"], "t")
    assert found is not None
    assert any("one seed" in sentence for sentence in found.sentences)


def test_no_verdict_without_natural() -> None:
    assert confirmation_summary(by_target(_rows("chosen", [3.0]))["t"], "t") is None


def test_tally_counts_signs() -> None:
    rows = []
    for target, measured in (("a", 3.0), ("b", 3.0), ("c", 3.5)):
        rows += _rows("chosen", [measured], 4.0, target) + _rows("natural", [3.2], 4.3, target)
    assert "better than the natural one on 2; the proxies had the direction right on 2." in tally(by_target(rows))
