"""Memory of a worker that trains: a formula, checked against the most that a worker really holds.

On a CPU all is float32. Fixed is the process (Python, torch). Parameters, their gradients and AdamW's two averages are
4 P numbers; writing the checkpoint holds a copy of the parameters beside them. A pass of N tokens keeps what each layer
saved for the backward, and the head works in tiles (`proxies/loss.py`): of one chunk of rows it keeps all tiles of
exponentials. `tests/regmix_pipeline/proxies/test_memory.py` compares this with real workers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from regmix_pipeline.study.settings.proxies import ModelSettings

Kind = Literal["cpu", "cuda"]

PROCESS = {"cpu": 345e6, "cuda": 900e6}
"""Bytes of a worker before it has a model; on CUDA on the device: its context and libraries."""
_HEAD_ROWS = 512
_HEAD_BYTES = 2**30
_BLOCK = 64
_LONGEST = 2048


@dataclass(frozen=True)
class Memory:
    """Bytes that one worker needs at most, by what they are for; of a stack, all its models together."""

    process: float
    parameters: float
    gradients: float
    optimiser: float
    activations: float
    head: float
    checkpoint: float

    @property
    def fixed(self) -> float:
        """Bytes that are held all the time."""
        return self.process + self.parameters + self.gradients + self.optimiser

    @property
    def total(self) -> float:
        """Bytes at the highest point: in a pass, or while the checkpoint is written."""
        return self.fixed + max(self.activations + self.head, self.checkpoint)


def worker_memory(
    model: ModelSettings, vocabulary: int, windows_per_step: int, kind: Kind = "cpu", stack: int = 1, parts: int = 1
) -> Memory:
    """What a worker needs to train one model, or a stack of them.

    Args:
        model: its shape.
        vocabulary: rows of the embedding.
        windows_per_step: windows in an optimiser step; a pass holds no more.
        stack: models that train as one program. On CUDA they share what a pass may keep; on a CPU each has its own. The
            head takes one model after the other.
        kind: of device. On CUDA activations and the head's products are bfloat16, and what autocast casts is kept.
        parts: workers that one model is divided among. Embedding, head and two blocks are whole at a time, and their
            gradients.
    """
    if parts > 1:
        return _divided(model, vocabulary, windows_per_step, kind, parts)
    parameters = model.parameters(vocabulary)
    share = stack if kind == "cuda" else 1
    windows = min(windows_per_step, max(1, model.tokens_per_pass(kind) // share // model.context))
    tokens = windows * model.context
    if kind == "cpu":
        head = 4.0 * min(_HEAD_ROWS, tokens) * vocabulary + 8.0 * tokens * model.width
        activations = 4.0 * model.layers * _saved_by_layer(model, windows, tokens, kind)
        cast = 0.0
    else:
        # Logits in bfloat16 and float32, exponentials in bfloat16 again, of chunks of about 1 GiB.
        head = min(2.0 * _HEAD_BYTES, 8.0 * tokens * vocabulary)
        activations = 2.0 * model.layers * _saved_by_layer(model, windows, tokens, kind)
        cast = 2.0 * parameters
    # What the pass of a stack's embedding, and of its blocks, gives back before it is added to the gradients.
    apart = 4.0 * parameters if stack > 1 else 0.0
    return Memory(
        process=PROCESS[kind],
        parameters=stack * (4.0 * parameters + cast),
        gradients=stack * (4.0 * parameters + apart),
        optimiser=stack * 8.0 * parameters,
        activations=stack * activations,
        head=head,
        checkpoint=4.0 * parameters,
    )


def _divided(model: ModelSettings, vocabulary: int, windows_per_step: int, kind: Kind, parts: int) -> Memory:
    """Of one of the workers that a model is divided among."""
    alone = worker_memory(model, vocabulary, windows_per_step // parts, kind)
    parameters, ends = model.parameters(vocabulary), 2 * vocabulary * model.width
    whole = ends + 2 * (parameters - ends) / model.layers
    each = 4.0 if kind == "cpu" else 2.0
    return replace(
        alone,
        parameters=4.0 * parameters / parts + each * whole,
        # Gradients as they come, and in float32 while they are added up.
        gradients=4.0 * parameters / parts + (each + 4.0) * whole,
        optimiser=8.0 * parameters / parts,
        checkpoint=4.0 * vocabulary * model.width,
    )


def whole_fits(model: ModelSettings, vocabulary: int, windows_per_step: int, devices: int, room: float) -> bool:
    """Whether each of several CUDA devices of ``room`` bytes holds a whole model and its share of a step's windows."""
    return worker_memory(model, vocabulary, max(1, windows_per_step // devices), "cuda").total <= room


def shares(windows: int, devices: int) -> int:
    """The most devices, up to ``devices``, that a step's windows can be shared by evenly."""
    return next(number for number in range(min(devices, windows), 0, -1) if windows % number == 0)


def _saved_by_layer(model: ModelSettings, windows: int, tokens: int, kind: Kind) -> float:
    """Numbers that a layer keeps for the backward pass: norms, residuals, queries to values, SwiGLU, probabilities."""
    kept = tokens * (12 * model.width + 4 * model.ffn_width)
    if kind == "cpu" and 2 * _BLOCK < model.context <= _LONGEST:
        # The causal attention of long windows keeps its probabilities (`proxies/attention.py`).
        kept += windows * model.heads * model.context * (model.context + _BLOCK) // 2
    return float(kept)
