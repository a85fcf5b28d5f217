# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A proxy in the middle of its training, on disk: what a killed worker continues from, to the bit.

Weights and AdamW's averages are kept whole, and everything else about a step is a function of its number (windows,
learning rate), so a continued training is the uninterrupted one. A snapshot is trusted only if its checksum holds and
the same code, torch and kind of device wrote it; any other is dropped, and the training starts again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from regmix_pipeline.files import written_atomically
from regmix_pipeline.proxies.spec import TRAINING_CODE, ProxySpec


@dataclass(frozen=True)
class Snapshot:
    """A training after some steps.

    Attributes:
        taken: steps taken.
        tensors: name -> tensor; see `training_loop.TrainingLoop.tensors`.
        trajectory: rows of losses sampled so far.
        seconds: spent in steps and in evaluation so far.
    """

    taken: int
    tensors: dict[str, Tensor]
    trajectory: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def save_snapshot(spec: ProxySpec, device: torch.device, snapshot: Snapshot) -> None:
    """Write the snapshot in place of the one before, completely or not at all.

    Raises:
        OSError, SafetensorError: it cannot be written; the one before stays.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()}
    content = {
        "taken": snapshot.taken,
        "trajectory": snapshot.trajectory,
        "seconds": snapshot.seconds,
        "sha256": _digest(tensors),
        "made_by": _made_by(spec, device),
    }
    with written_atomically(spec.snapshot) as temporary:
        save_file(tensors, temporary, metadata={"snapshot": json.dumps(content)})


def load_snapshot(spec: ProxySpec, device: torch.device) -> Snapshot | None:
    """The snapshot of a training that was cut short, or None; one that is damaged or foreign is deleted."""
    if not spec.snapshot.is_file():
        return None
    try:
        return _read(spec, device)
    except Exception as error:
        # Whatever is wrong with it, the training can start again and loses time alone.
        print(f"{spec.snapshot}: {error}; the proxy is trained from the start", file=sys.stderr)
        spec.snapshot.unlink(missing_ok=True)
        return None


def _read(spec: ProxySpec, device: torch.device) -> Snapshot:
    from safetensors import safe_open

    with safe_open(spec.snapshot, framework="pt") as file:
        content = json.loads((file.metadata() or {})["snapshot"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    if content["made_by"] != _made_by(spec, device):
        raise ValueError("the snapshot was made by other code or on another kind of device")
    if content["sha256"] != _digest(tensors):
        raise ValueError("the snapshot was altered")
    return Snapshot(content["taken"], tensors, content["trajectory"], content["seconds"])


def _made_by(spec: ProxySpec, device: torch.device) -> list[str]:
    return [spec.id, TRAINING_CODE, torch.__version__, device.type]


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().reshape(-1).view("uint8").data)
    return digest.hexdigest()
