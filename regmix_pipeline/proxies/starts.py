# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A finished model that others go on from: its weights, and AdamW's averages beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import read_json, sha256_of
from regmix_pipeline.proxies.integrity import RECORD, STATE, WEIGHTS, require_intact
from regmix_pipeline.proxies.optimiser import FlatAdamW
from regmix_pipeline.proxies.spec import ProxySpec


def save_averages(folder: Path, averages: Mapping[str, Tensor]) -> str:
    """Write AdamW's averages, each of shape (parameters,), into a model's folder; returns the file's SHA-256."""
    from safetensors.torch import save_file

    save_file({name: each.detach().cpu().contiguous() for name, each in averages.items()}, folder / STATE)
    return sha256_of(folder / STATE)


def load_weights(start: ProxySpec, model: nn.Module) -> None:
    """Give a model the weights of a finished one; raises as `weights_of`."""
    model.load_state_dict(dict(weights_of(start)))


def weights_of(start: ProxySpec) -> Iterator[tuple[str, Tensor]]:
    """Name and values of every parameter of a finished model, one after the other.

    Raises:
        ProxyError: it is not there, or altered; it is then set aside.
    """
    from safetensors import safe_open

    if not start.is_finished:
        raise ProxyError(
            "the model of the phases before is not there", where=str(start.output), remedy="run again: it is trained"
        )
    require_intact(start.output)
    with safe_open(start.output / WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dictionary
            yield name, file.get_tensor(name)


@torch.no_grad()
def load_optimiser(start: ProxySpec, optimiser: FlatAdamW) -> None:
    """Let AdamW go on from a finished model's averages and number of steps; raises as `averages_of`."""
    for name, part, values in averages_of(start, [optimiser.mean.numel()]):
        getattr(optimiser, name)[part].copy_(values)
    optimiser.taken.fill_(steps_until(start))


def averages_of(start: ProxySpec, sizes: Sequence[int]) -> Iterator[tuple[str, slice, Tensor]]:
    """AdamW's averages of a finished model, in pieces of these sizes: "mean" or "square", which part, its values.

    Raises:
        ProxyError: they are altered; the model is then set aside.
    """
    from safetensors import safe_open

    if read_json(start.output / RECORD)["optimiser_sha256"] != sha256_of(start.output / STATE):
        require_intact(start.output, f"{STATE} was altered after it was written")
    with safe_open(start.output / STATE, framework="pt") as file:
        for name in ("mean", "square"):
            whole = file.get_slice(name)
            for end, size in zip(accumulate(sizes), sizes, strict=True):
                yield name, slice(end - size, end), whole[end - size : end]


def steps_until(start: ProxySpec) -> int:
    """Steps that a finished model and those it goes on from took."""
    return start.steps_before + start.training.steps(start.model.context)
