"""Windows of a run whose weights change: nobody is far from its due, and constant weights give the constant run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS, Mixture, largest_remainder
from regmix_pipeline.proxies.quota import quota_schedule
from regmix_pipeline.proxies.spec import TokenFile
from regmix_pipeline.proxies.windows import TrainingWindows
from regmix_pipeline.strategies.trained.windows import CarriedQuota, SteeredWindows


def parts_of(values: list[int]) -> list[int]:
    whole = np.array(values, dtype=float)
    return largest_remainder(whole / whole.sum(), PARTS).tolist()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12).filter(any), st.lists(st.integers(1, 20), min_size=1))
def test_constant_weights_give_the_schedule_of_the_constant_run(values: list[int], calls: list[int]) -> None:
    parts = parts_of(values)
    quota = CarriedQuota(len(parts))
    drawn = [domain for windows in calls for domain in quota.draw(parts, windows)]
    mixture = Mixture.of({f"d{number:02}": part for number, part in enumerate(parts)})
    names = [int(domain[1:]) for domain, _ in mixture.parts]
    assert drawn == [names[place] for place in quota_schedule(mixture, len(drawn))]


@given(st.integers(2, 9), st.data())
def test_whatever_the_weights_every_domain_is_near_its_due(domains: int, data: st.DataObject) -> None:
    quota, drawn, owed = CarriedQuota(domains), np.zeros(domains), np.zeros(domains)
    row = st.lists(st.integers(0, 100), min_size=domains, max_size=domains).filter(any)
    for values in data.draw(st.lists(row, min_size=1, max_size=40)):
        parts, windows = parts_of(values), data.draw(st.integers(1, 6))
        for domain in quota.draw(parts, windows):
            drawn[domain] += 1
        owed += windows * np.array(parts) / PARTS
        assert np.allclose(owed - drawn, np.array(quota.due) / PARTS)
        assert (drawn - owed < 1).all()
        assert (owed - drawn < 1 + math.log(domains)).all()
        assert (drawn[owed == 0] == 0).all()


def test_parts_that_are_no_mixture_are_refused() -> None:
    with pytest.raises(MixtureError, match="are not a mixture"):
        CarriedQuota(2).draw([PARTS, 1], 3)


@pytest.fixture
def files(tmp_path):
    files = {}
    for seed, (domain, tokens) in enumerate({"books": 500, "code": 2000, "web": 5000}.items()):
        path = tmp_path / f"{domain}.ds"
        np.random.default_rng(seed).integers(0, 60, tokens).astype("<u2").tofile(path)
        files[domain] = TokenFile(path=path, dtype="uint16", tokens=tokens, version=f"s{seed}")
    return files


def test_windows_are_those_of_the_constant_run_and_draws_are_numbered_by_domain(files) -> None:
    available = {"books": 7}
    mixture = Mixture.of({"books": 300_000, "code": 600_000, "web": 100_000})
    constant = TrainingWindows(mixture, files, 16, 400, 5, available)
    steered = SteeredWindows(files, 16, 5, available)
    for windows in (1, 99, 300):
        steered.steer(dict(mixture.parts), windows)
    assert (steered.read(0, 400) == constant.read(0, 400)).all()
    assert steered.used(400) == constant.used(400)

    changing = SteeredWindows(files, 16, 5, available)
    changing.steer({"web": PARTS}, 50)
    changing.steer(dict(mixture.parts), 350)
    for number in range(3):
        mine = changing.read(0, 400)[changing.of_windows(0, 400) == number]
        theirs = constant.read(0, 400)[constant.schedule == number]
        common = min(len(mine), len(theirs))
        assert (mine[:common] == theirs[:common]).all()
