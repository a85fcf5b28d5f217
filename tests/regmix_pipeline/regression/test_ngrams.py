"""Regressors of n-gram counts compete where a study's own proxies confirm the counts."""

# ruff: noqa: TID253 - tests load what they test
import json

import numpy as np
import pytest
from sklearn.base import clone

from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.regression.catalogue import NGRAMS, regressor
from regmix_pipeline.regression.fitted import EVIDENCE, FittedRegressor
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.regression.laws.ngrams import DECAYS
from regmix_pipeline.regression.laws.worth import worth
from regmix_pipeline.regression.trust import trust, trusted
from regmix_pipeline.study.settings.regression import RegressionSettings, TrustSettings

DOMAINS, TARGETS = ("web", "code", "books"), ("essays", "programs")
SETTINGS = RegressionSettings(
    regressors=("saturation", "gaussian_process", *NGRAMS, "stack"), bootstrap=50, step_laws=False
)


@pytest.fixture
def counted():
    """Evidence, mixtures, and losses that are a line of what counts predict plus a little that they do not know."""
    generator = np.random.default_rng(5)
    tables = {target: generator.dirichlet(np.full(4, 0.4), (300, 3))[:, :, 0] + 1e-3 for target in TARGETS}
    evidence = NgramEvidence(DOMAINS, tables)
    weights = generator.dirichlet(np.ones(3), 16)
    losses = 1.5 + 0.8 * evidence.losses(weights) + generator.normal(scale=0.01, size=(16, 2))
    return evidence, weights, losses


@pytest.mark.parametrize("name", NGRAMS)
def test_predicts_and_survives_json_without_the_counts_in_it(counted, name):
    evidence, weights, losses = counted
    fitted = regressor(name, evidence=evidence).fit(weights, losses)
    fresh = np.random.default_rng(1).dirichlet(np.ones(3), 50)
    truth = 1.5 + 0.8 * evidence.losses(fresh)
    predicted = fitted.predict(fresh)
    assert np.abs(predicted - truth).max() < 0.1 * np.ptp(truth)
    text = json.dumps(fitted.state(), allow_nan=False)
    again = regressor(name, evidence=evidence).restore(json.loads(text))
    np.testing.assert_array_equal(again.predict(fresh), predicted)
    np.testing.assert_array_equal(fitted.predict_targets(fresh, [1]), predicted[:, [1]])
    assert clone(fitted).evidence is evidence


def test_a_regressor_without_counts_says_so(counted):
    _, weights, losses = counted
    with pytest.raises(ValueError, match="needs them"):
        regressor("ngrams").fit(weights, losses)


def test_losses_that_fall_where_counts_say_they_rise_have_no_slope(counted):
    evidence, weights, losses = counted
    fitted = regressor("ngrams", evidence=evidence).fit(weights, 10 - losses)
    assert np.ptp(fitted.predict(weights), axis=0) == pytest.approx(0)


@pytest.mark.parametrize("decay", DECAYS)
def test_learns_what_repeated_tokens_are_worth(counted, decay):
    evidence, weights, _ = counted
    epochs = [3.0, 12.0, 6.0]

    def losses(mixtures):
        value = worth(mixtures, np.array(epochs), decay)
        return 1.5 + 0.8 * evidence.losses(value) - 0.5 * np.log(value.sum(axis=1, keepdims=True))

    fresh = np.random.default_rng(1).dirichlet(np.ones(3), 50)
    fitted = regressor("ngrams", epochs, evidence).fit(weights, losses(weights))
    np.testing.assert_allclose(fitted.predict(fresh), losses(fresh), atol=1e-9)
    assert fitted.learned_["decay"].tolist() == [decay, decay]
    blind = regressor("ngrams", None, evidence).fit(weights, losses(weights))
    assert np.abs(blind.predict(fresh) - losses(fresh)).max() > 0.01


def test_the_error_on_mixtures_left_out_is_that_of_fits_without_them(counted):
    evidence, weights, losses = counted
    fitted = regressor("ngrams", None, evidence).fit(weights, losses)
    for row in range(len(weights)):
        others = np.arange(len(weights)) != row
        again = regressor("ngrams", None, evidence).fit(weights[others], losses[others])
        np.testing.assert_allclose(fitted.learned_["left_out"][row], again.predict(weights[[row]])[0], atol=1e-6)


def test_trusted_counts_compete_and_the_fit_is_loaded_as_it_was_saved(counted, tmp_path):
    evidence, weights, losses = counted
    fitted = fit(weights, losses, None, DOMAINS, TARGETS, SETTINGS, evidence=evidence)
    assert trusted(fitted.trust)
    assert {row["regressor"] for row in fitted.scores} >= set(NGRAMS)
    assert fitted.process is not None
    fitted.save(tmp_path)
    again = FittedRegressor.load(tmp_path)
    assert (again.trust, again.process_name) == (fitted.trust, fitted.process_name)
    np.testing.assert_allclose(again.predict(weights), fitted.predict(weights), rtol=1e-5)
    assert (tmp_path / EVIDENCE).is_file() == (fitted.evidence is not None)


def test_counts_that_proxies_contradict_are_dropped(counted, tmp_path):
    evidence, weights, losses = counted
    other = np.random.default_rng(2).permuted(losses, axis=0)
    fitted = fit(weights, other, None, DOMAINS, TARGETS, SETTINGS, evidence=evidence)
    assert not trusted(fitted.trust)
    assert not {row["regressor"] for row in fitted.scores} & set(NGRAMS)
    fitted.save(tmp_path)
    assert not (tmp_path / EVIDENCE).exists()


def test_only_targets_with_weight_are_asked(counted):
    evidence, weights, losses = counted
    half = losses.copy()
    half[:, 1] = np.random.default_rng(2).permutation(half[:, 1])
    found = trust(weights, half, evidence, TrustSettings())
    assert [each.trusted for each in found] == [True, False]
    assert trusted(found, {"essays": 1.0})
    assert not trusted(found, {"essays": 1.0, "programs": 0.1})
    assert not trusted([])


def test_too_few_mixtures_are_no_evidence(counted):
    evidence, weights, losses = counted
    found = trust(weights[:11], losses[:11], evidence, TrustSettings())
    assert [each.why for each in found] == ["11 mixtures are measured, 12 are needed"] * 2


def test_counts_of_other_domains_are_not_used(counted):
    evidence, weights, losses = counted
    fitted = fit(weights, losses, None, ("web", "code", "films"), TARGETS, SETTINGS, evidence=evidence)
    assert fitted.trust == ()
