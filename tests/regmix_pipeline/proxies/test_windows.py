"""Windows: what they hold, in which order a proxy sees them, and what it saw in the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import TokenError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.spec import TokenFile
from regmix_pipeline.proxies.windows import TrainingWindows, Windows, domain_order, within_quota

MIXTURE = Mixture.of({"books": 500_000, "code": 300_000, "web": 200_000})


def file_of(path: Path, tokens: np.ndarray) -> TokenFile:
    tokens.tofile(path)
    return TokenFile(path=path, dtype=tokens.dtype.name, tokens=len(tokens), version="v")  # pyright: ignore


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_every_token_but_the_first_is_a_label_once(tmp_path: Path, dtype: str) -> None:
    windows = Windows(file_of(tmp_path / "a.ds", np.arange(41, dtype=dtype)), context=8)
    rows = windows.read(np.arange(windows.count))
    assert rows.shape == (5, 9)
    assert rows[:, 1:].ravel().tolist() == list(range(1, 41))


@given(st.integers(1, 300), st.integers(1, 60))
def test_evenly_spaced_windows_are_distinct_and_spread(count: int, number: int) -> None:
    file = TokenFile(path=Path(__file__), dtype="uint16", tokens=count * 8 + 1, version="v")
    windows = object.__new__(Windows)
    object.__setattr__(windows, "file", file)
    object.__setattr__(windows, "context", 8)
    chosen = windows.evenly_spaced(number)
    assert len(chosen) == min(count, number)
    assert chosen[0] >= 0
    assert chosen[-1] < count
    steps = np.diff(chosen)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    assert (steps > 0).all()


@given(st.integers(0, 99), st.integers(1, 90), st.data())
def test_every_epoch_is_a_new_order_of_the_same_windows(seed: int, windows: int, data: st.DataObject) -> None:
    available = data.draw(st.integers(1, windows))
    order = domain_order(seed, "web", np.arange(3 * available), windows, available).reshape(3, available)
    assert len({tuple(sorted(epoch)) for epoch in order.tolist()}) == 1
    assert len(set(order[0].tolist())) == available
    if available > 20:
        assert order[0].tolist() != order[1].tolist()


def test_a_smaller_choice_of_windows_is_part_of_a_larger_one() -> None:
    chosen = [set(domain_order(1, "web", np.arange(size), 100, size).tolist()) for size in (10, 40, 99)]
    assert chosen[0] < chosen[1] < chosen[2]


def test_proxies_of_one_seed_see_a_domain_in_the_same_order(shards: dict[str, TokenFile]) -> None:
    other = Mixture.of({"books": 100_000, "code": 900_000})
    rows = []
    for mixture in (MIXTURE, other):
        training = TrainingWindows(mixture, shards, 16, 200, seed=4)
        mine = training.schedule == training.domains.index("code")
        rows.append(training.read(0, 200)[mine])
    short = min(len(part) for part in rows)
    assert short > 50
    assert np.array_equal(rows[0][:short], rows[1][:short])


def test_reading_in_parts_is_reading_at_once_and_text_is_the_shards(shards: dict[str, TokenFile]) -> None:
    training = TrainingWindows(MIXTURE, shards, 16, 60, seed=4)
    whole = training.read(0, 60)
    assert np.array_equal(whole, np.concatenate([training.read(start, 12) for start in range(0, 60, 12)]))
    texts = {domain: np.fromfile(file.path, dtype="<u2") for domain, file in shards.items()}
    for row, domain in zip(whole, training.schedule, strict=True):
        text = texts[training.domains[domain]]
        assert any(np.array_equal(row, text[start : start + 17]) for start in range(0, len(text) - 16, 16))


def test_use_counts_windows_tokens_and_epochs(shards: dict[str, TokenFile]) -> None:
    used = TrainingWindows(MIXTURE, shards, 16, 100, seed=4, available={"books": 10, "web": 10**9}).used(100)
    assert {domain: use.windows for domain, use in used.items()} == {"books": 50, "code": 30, "web": 20}
    assert used["books"].epochs == 5.0
    assert used["books"].available_tokens == 160
    assert used["web"].available_tokens == (5000 - 1) // 16 * 16
    assert used["code"].tokens == 480


def test_within_quota_tells_a_window_too_many() -> None:
    assert within_quota(MIXTURE, {"books": 50, "code": 30, "web": 20})
    assert within_quota(MIXTURE, {"books": 51, "code": 30, "web": 20})
    assert not within_quota(MIXTURE, {"books": 52, "code": 29, "web": 19})
    assert not within_quota(MIXTURE, {"books": 50, "code": 50})
    assert not within_quota(MIXTURE, {"books": 50, "code": 30, "web": 20, "other": 0})


def test_a_file_that_is_missing_altered_or_too_short_is_named(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.ds", np.zeros(9, dtype="<u2"))
    with pytest.raises(TokenError, match=r"a\.ds: 9 tokens are less than a window"):
        Windows(file, context=9)
    with pytest.raises(TokenError, match="has 18 bytes, not 20"):
        Windows(file.model_copy(update={"tokens": 10}), context=4)
    with pytest.raises(TokenError, match="missing"):
        Windows(file.model_copy(update={"path": tmp_path / "b.ds"}), context=4)
