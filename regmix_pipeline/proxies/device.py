# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""Where a model is trained and measured, and how much of its text goes through it at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.model import Decoder

_TOKENS_PER_PASS = {"cpu": 2048, "cuda": 65536}


def rows_per_pass(model: Decoder) -> int:
    """Rows of a model's window that one forward pass takes on its device."""
    return max(1, _TOKENS_PER_PASS.get(model.head.device.type, 2048) // model.settings.context)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 on CUDA; float32 elsewhere."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def device_of(name: str, worker: int = 0) -> torch.device:
    """The device a spec names; with several CUDA devices, workers take them in turn."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ProxyError("there is no CUDA device", where="device", remedy="use device: auto or cpu")
    return torch.device("cuda", worker % torch.cuda.device_count())
