# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A finished model that others go on from: its weights, and AdamW's averages beside them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import read_json, sha256_of
from regmix_pipeline.proxies.integrity import RECORD, STATE, WEIGHTS, require_intact
from regmix_pipeline.proxies.optimiser import FlatAdamW
from regmix_pipeline.proxies.spec import ProxySpec


def save_optimiser(folder: Path, optimiser: FlatAdamW) -> str:
    """Write AdamW's averages into a model's folder; returns the file's SHA-256."""
    from safetensors.torch import save_file

    averages = {"mean": optimiser.mean, "square": optimiser.square}
    save_file({name: each.detach().cpu().contiguous() for name, each in averages.items()}, folder / STATE)
    return sha256_of(folder / STATE)


def load_weights(start: ProxySpec, model: nn.Module) -> None:
    """Give a model the weights of a finished one.

    Raises:
        ProxyError: it is not there, or altered; it is then set aside.
    """
    from safetensors.torch import load_file

    if not start.is_finished:
        raise ProxyError(
            "the model of the phases before is not there", where=str(start.output), remedy="run again: it is trained"
        )
    require_intact(start.output)
    model.load_state_dict(load_file(start.output / WEIGHTS))


@torch.no_grad()
def load_optimiser(start: ProxySpec, optimiser: FlatAdamW) -> None:
    """Let AdamW go on from a finished model's averages and number of steps.

    Raises:
        ProxyError: they are altered; the model is then set aside.
    """
    from safetensors.torch import load_file

    if read_json(start.output / RECORD)["optimiser_sha256"] != sha256_of(start.output / STATE):
        require_intact(start.output, f"{STATE} was altered after it was written")
    averages = load_file(start.output / STATE)
    optimiser.mean.copy_(averages["mean"])
    optimiser.square.copy_(averages["square"])
    optimiser.taken.fill_(start.steps_before + start.training.steps(start.model.context))
