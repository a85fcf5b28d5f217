"""UniMax: equal shares up to a number of epochs."""

from __future__ import annotations

import numpy as np
import pytest

from regmix_pipeline.errors import StudyError
from regmix_pipeline.strategies.methods.unimax import UniMax, allocated
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld


def test_domains_get_equal_shares_unless_they_would_be_seen_too_often() -> None:
    world = SyntheticWorld("scarce", 1)
    assert world.epochs is not None
    for most in (1.0, 3.0):
        choice = UniMax(max_epochs=most).choose(world, 0.0)
        assert choice.mixture is not None
        weights = choice.mixture.vector(world.domains)
        seen = weights * world.epochs
        assert seen.max() <= most + 1e-4
        below = seen < most - 1e-3
        assert 0 < below.sum() < len(weights)
        assert np.ptp(weights[below]) < 1e-5
        assert weights[below].min() > weights[~below].max() - 1e-5
    assert world.account.runs == 0


def test_the_budget_goes_to_the_smallest_domains_first_as_in_the_paper() -> None:
    # A run of 100 tokens over 4, 10, 80 and 200: 4 and 10 are used up, 43 each are left for the others.
    assert allocated(4, 100 / np.array([200.0, 10.0, 80.0, 4.0]), 1) == pytest.approx([0.43, 0.1, 0.43, 0.04])
    # Twice: 8 and 20, and 36 each.
    assert allocated(4, 100 / np.array([200.0, 10.0, 80.0, 4.0]), 2) == pytest.approx([0.36, 0.2, 0.36, 0.08])


def test_a_run_longer_than_all_allowed_epochs_sees_every_domain_equally_often() -> None:
    epochs = 100 / np.array([10.0, 20.0, 5.0])
    assert allocated(3, epochs, 1) * epochs == pytest.approx(100 / 35)


def test_without_limited_tokens_it_is_uniform() -> None:
    assert allocated(4, None, 1).tolist() == [0.25] * 4


def test_no_epochs_are_refused() -> None:
    with pytest.raises(StudyError, match="0 epochs"):
        UniMax(max_epochs=0)
