"""The benchmark of choices: its table is the mean of all choices, and finalists are the best of each budget."""

import choices
import numpy as np
import pytest

from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.strategies.comparison.job import Asked


def made(strategy, budget, seed, *losses):
    mixture = Mixture.from_weights({"web": 0.5 + seed / 100, "code": 0.5 - seed / 100})
    return choices.Chosen(Asked(strategy, budget, seed), mixture, float(budget), list(losses))


@pytest.fixture
def several():
    return [
        choices.Chosen(choices.NATURAL, None, 0.0, [5.0]),
        *(made("good", budget, seed, 4.0 + seed / 10) for budget in (8, 64) for seed in range(3)),
        *(made("bad", budget, seed, 4.6) for budget in (8, 64) for seed in range(3)),
        choices.Chosen(Asked("unfinished", 8), None, 8.0),
    ]


def test_a_line_is_the_mean_over_choices_with_its_error_and_the_regret_against_the_best(several):
    lines = list(choices.table(choices.rows_of(several)))
    assert [(line["strategy"], line["budget"]) for line in lines] == [
        *(("good", "64"), ("bad", "64"), ("good", "8"), ("bad", "8")),
        ("natural", ""),
    ]
    good = lines[0]
    error = np.std([4.0, 4.1, 4.2], ddof=1) / 3**0.5
    assert good["objective"] == f"4.1000 ± {error:.4f}"
    assert good["regret"] == "0.1000"
    assert good["choices"] == "3"
    # One choice has no deviation.
    assert (lines[-1]["objective"], lines[-1]["between choices"], lines[-1]["regret"]) == ("5.0000", "", "1.0000")


def test_choices_of_earlier_runs_are_shown_beside_and_the_best_of_all_is_the_reference(several, tmp_path):
    rows = choices.rows_of(several)
    earlier = [made("better", 16, 0, 3.5), made("good", 64, 0, 9.0)]
    choices.rows_of([several[0], *earlier]).write_parquet(tmp_path / "earlier.parquet")
    both = choices.with_earlier([rows], [tmp_path / "earlier.parquet"])
    assert len(both) == len(rows) + 1
    lines = {(line["strategy"], line["budget"]): line for line in choices.table(both)}
    assert lines["better", "16"]["regret"] == "0.0000"
    assert lines["good", "64"]["regret"] == "0.6000"


def test_finalists_are_the_best_strategies_of_each_budget(several):
    found = choices.finalists(several[1:], 1)
    assert {(each.asked.strategy, each.asked.proxies) for each in found} == {("good", 8), ("good", 64)}
    assert len(found) == 6


def test_what_a_seed_does_to_all_choices_is_no_noise():
    generator = np.random.default_rng(0)
    choice, seed = generator.normal(4, 0.5, 40), generator.normal(0, 0.5, 5)
    noise = generator.normal(0, 0.02, (40, 5))
    runs = [made("one", 8, number, *(choice[number] + seed + noise[number])) for number in range(40)]
    assert choices.between_seeds(choices.rows_of(runs)) == pytest.approx(0.02, rel=0.2)
    assert choices.between_seeds(choices.rows_of([made("one", 8, 0, 4.0)])) is None
