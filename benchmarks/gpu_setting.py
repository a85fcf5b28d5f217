# ruff: noqa: TID253
"""What `gpu.py` measures: the models, and how seconds and memory of a device are taken."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from proxy_throughput import token_file

from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

WINDOWS = 512
"""Of a step of the paper's proxies."""
TOKENS = 1_048_576_000
"""Of such a proxy."""


class Setting:
    """What is measured: the paper's proxies on CUDA, or models of nothing on a CPU.

    Attributes:
        small: which of the two.
        folder: of token files and proxies.
        until: when the time is spent, `time.monotonic`.
    """

    def __init__(self, small: bool, folder: Path, until: float) -> None:
        self.small, self.folder, self.until = small, folder, until
        self.device = torch.device("cpu" if small else "cuda")
        shape = {"context": 64, "width": 32, "heads": 2, "ffn_width": 64} if small else {}
        self.model = ModelSettings.preset("regmix-1m", **shape)
        self.vocabulary = 512 if small else 50_432
        self.sizes = (1, 4) if small else (1, 4, 16, 64)
        self.seconds = 0.5 if small else 6.0
        self.flops = self.model.training_flops_per_token(self.vocabulary)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def spec(self, seed: int, windows: int, steps: int = 1000) -> ProxySpec:
        """A proxy with steps of so many windows, on random tokens as frequent as words are."""
        files = {
            name: token_file(self.folder / f"{name}.ds", self.vocabulary, 40_000 if self.small else 8_000_000)
            for name in ("web", "books")
        }
        training = TrainingSettings(
            tokens=steps * windows * self.model.context, windows_per_step=windows, warmup_steps=2
        )
        return ProxySpec(
            mixture={"web": 700_000, "books": 300_000},
            model=self.model,
            vocabulary=self.vocabulary,
            training=training,
            seed=seed,
            shards=files,
            folder=self.folder / "proxies",
            device="cpu" if self.small else "cuda",
        )

    def per_pass(self, stack: int = 1) -> int:
        """Windows of a proxy that go through the model at once."""
        share = 1 if self.small else stack
        return max(1, self.model.tokens_per_pass(self.device.type) // share // self.model.context)


def seconds_of(work: Callable[[], object], setting: Setting, seconds: float | None = None, warm: bool = True) -> float:
    """Seconds of one call: the median of groups over some seconds, after two that compile and allocate."""
    for _ in range(2 if warm else 0):
        work()
    spent, until = [], time.monotonic() + (setting.seconds if seconds is None else seconds)
    for number in itertools.count():
        synchronise(setting)
        started = time.perf_counter()
        work()
        synchronise(setting)
        spent.append(time.perf_counter() - started)
        if number >= 2 and time.monotonic() > until:
            return statistics.median(spent)
    raise AssertionError


def synchronise(setting: Setting) -> None:
    """Wait for the device."""
    if not setting.small:
        torch.cuda.synchronize()


def reset_peak(setting: Setting) -> None:
    """Begin to measure memory anew."""
    if not setting.small:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(setting: Setting) -> float | None:
    """Most that the device held since; None on a CPU."""
    return None if setting.small else torch.cuda.max_memory_allocated() / 1e9
