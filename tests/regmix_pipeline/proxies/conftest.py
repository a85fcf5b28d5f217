"""Small token files, and specs for proxies that train in a tenth of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from regmix_pipeline.proxies.spec import ProxySpec, TargetFile, TokenFile
from regmix_pipeline.study.settings.proxies import EvaluationSettings, ModelSettings, TrainingSettings

VOCABULARY = 61
MODEL = ModelSettings(context=16, layers=2, width=16, heads=2, ffn_width=24)
TRAINING = TrainingSettings(tokens=16 * 8 * 12, windows_per_step=8, learning_rate=1e-2, warmup_steps=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker: one thread, which is what makes results the same to the bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tokens_of(seed: int, tokens: int) -> np.ndarray:
    """A Markov chain over the vocabulary, another one for every seed, so that there is something to learn."""
    rng = np.random.Generator(np.random.PCG64(seed))
    successors = rng.integers(0, VOCABULARY, (VOCABULARY, 3))
    chain = np.empty(tokens, dtype="<u2")
    state = 0
    for place, choice in enumerate(rng.integers(0, 3, tokens).tolist()):
        state = chain[place] = successors[state, choice]
    return chain


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenFile]:
    """Three domains of 500, 2000 and 5000 tokens."""
    folder = tmp_path_factory.mktemp("shards")
    files = {}
    for seed, (domain, tokens) in enumerate({"books": 500, "code": 2000, "web": 5000}.items()):
        path = folder / f"{domain}.train.ds"
        tokens_of(seed, tokens).tofile(path)
        files[domain] = TokenFile(path=path, dtype="uint16", tokens=tokens, version=f"s{seed}")
    return files


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TargetFile]:
    """Validation tokens of two of the domains."""
    folder = tmp_path_factory.mktemp("targets")
    files = {}
    for seed, domain in enumerate(("books", "code")):
        path = folder / f"{domain}.validation.ds"
        tokens_of(seed, 900).tofile(path)
        files[domain] = TargetFile(path=path, dtype="uint16", tokens=900, bytes=3100, version=f"t{seed}")
    return files


@pytest.fixture
def spec_of(shards: dict[str, TokenFile], targets: dict[str, TargetFile], tmp_path: Path) -> Callable[..., ProxySpec]:
    """Make a spec in the test's own folder; keyword arguments change its fields."""

    def make(**changes: object) -> ProxySpec:
        fields = {
            "mixture": {"books": 150_000, "code": 600_000, "web": 250_000},
            "model": MODEL,
            "vocabulary": VOCABULARY,
            "training": TRAINING,
            "seed": 3,
            "shards": shards,
            "targets": targets,
            "evaluation": EvaluationSettings(windows=20, trajectory_points=3, trajectory_windows=4),
            "folder": tmp_path / "proxies",
            "device": "cpu",
        }
        return ProxySpec.model_validate(fields | changes)

    return make
