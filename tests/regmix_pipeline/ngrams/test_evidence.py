"""The loss that counts predict for a mixture: convex, with an exact gradient, kept in single precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.ngrams.evidence import NgramEvidence

SEEDS = st.integers(0, 1000)


def made(seed, domains=4):
    generator = np.random.default_rng(seed)
    tables = {target: generator.dirichlet(np.full(6, 0.5), (50, domains))[:, :, 0] + 1e-4 for target in ("web", "code")}
    return NgramEvidence(tuple("abcdefgh"[:domains]), tables), generator.dirichlet(np.ones(domains), 8)


@given(SEEDS)
def test_the_loss_is_convex(seed):
    evidence, weights = made(seed)
    middle = evidence.losses((weights[:4] + weights[4:]) / 2)
    assert (middle <= (evidence.losses(weights[:4]) + evidence.losses(weights[4:])) / 2 + 1e-12).all()


@given(SEEDS)
def test_the_gradient_is_that_of_the_loss(seed):
    evidence, (start, end, *_) = made(seed)
    step = 1e-6
    for column, target in enumerate(evidence.targets):
        there, here = (evidence.losses((start + at * (end - start))[None])[0, column] for at in (step, -step))
        assert evidence.gradient(start, target) @ (end - start) == pytest.approx((there - here) / (2 * step), rel=1e-4)


def test_blocks_of_mixtures_are_the_same_as_all_at_once(monkeypatch):
    evidence, weights = made(1)
    expected = evidence.losses(weights)
    monkeypatch.setattr("regmix_pipeline.ngrams.evidence.AT_ONCE", 100)
    np.testing.assert_array_equal(evidence.losses(weights), expected)


def test_domains_may_come_from_files_of_their_own(tmp_path):
    evidence, weights = made(2)
    for name in evidence.domains:
        evidence.over([name], evidence.targets).save(tmp_path / f"{name}.parquet")
    again = NgramEvidence.load(*(tmp_path / f"{name}.parquet" for name in evidence.domains))
    assert again.domains == evidence.domains
    np.testing.assert_allclose(again.losses(weights), evidence.losses(weights), rtol=1e-6)


def test_what_is_not_known_of_a_domain_is_not_made_up():
    evidence, weights = made(3)
    assert evidence.over(["a", "new"], ["web"]) is None
    assert evidence.over(["a"], ["elsewhere"]) is None
    turned = evidence.over(["b", "a", "d", "c"], ["code"])
    np.testing.assert_allclose(turned.losses(weights[:, [1, 0, 3, 2]])[:, 0], evidence.losses(weights, ["code"])[:, 0])


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(RegressionError, match=r"a\.parquet"):
        NgramEvidence.load(tmp_path / "a.parquet")
