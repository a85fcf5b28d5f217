# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A proxy's loss on a target, with its standard error.

Windows are the unit that is independent of its neighbours: tokens of one window share a document, so the standard error
is that of the mean over windows. Every proxy is measured on the same windows, so differences between proxies are paired
and far more certain than each loss by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import read_json
from regmix_pipeline.proxies.evaluations import read_evaluation, write_evaluation
from regmix_pipeline.proxies.integrity import RECORD, WEIGHTS, require_intact
from regmix_pipeline.proxies.loss import token_losses
from regmix_pipeline.proxies.model import Decoder
from regmix_pipeline.proxies.spec import EvaluationSpec, TargetFile
from regmix_pipeline.proxies.target_kinds import TARGET_KINDS
from regmix_pipeline.proxies.windows import Windows
from regmix_pipeline.study.settings.proxies import ModelSettings

_TOKENS_PER_PASS = {"cpu": 2048, "cuda": 65536}


def rows_per_pass(model: Decoder) -> int:
    """Rows of a model's window that one forward pass takes on its device."""
    return max(1, _TOKENS_PER_PASS.get(model.head.device.type, 2048) // model.settings.context)


@dataclass(frozen=True)
class Loss:
    """A loss on a target.

    Attributes:
        loss: mean, nats per token.
        standard_error: its standard error, from the windows' spread.
        bits_per_byte: loss / ln 2 x tokens / bytes of the whole validation split.
        bits_per_byte_standard_error: standard_error in the same unit.
        evaluated_tokens: labels the loss was measured on.
    """

    loss: float
    standard_error: float
    bits_per_byte: float
    bits_per_byte_standard_error: float
    evaluated_tokens: int


class Sample:
    """Fixed, evenly spaced windows of a target, read once.

    Raises:
        TokenError: the file is missing, altered or shorter than a window.
        ProxyError: it holds less than two windows, from which no standard error follows.
    """

    def __init__(self, name: str, file: TargetFile, context: int, windows: int) -> None:
        source = Windows(file, context)
        if source.count < 2:
            raise ProxyError(
                f"target {name} has {file.tokens} validation tokens, less than two windows of {context}",
                where=str(file.path),
                remedy="give the target more text, or lower the model's context",
            )
        self.name, self.file = name, file
        self.rows = torch.from_numpy(source.read(source.evenly_spaced(windows)))


@torch.no_grad()
def losses_on(model: Decoder, samples: list[Sample]) -> dict[str, Loss]:
    """Loss on each sample; the samples share passes, so small ones cost little.

    Raises:
        ProxyError: a token is outside the vocabulary, or a loss is not finite.
    """
    if not samples:
        return {}
    device = model.head.device
    rows = torch.cat([sample.rows for sample in samples])
    if int(rows.max()) >= model.vocabulary:
        raise ProxyError(f"a token is outside the vocabulary of {model.vocabulary}", where=samples[0].name)
    per_pass = rows_per_pass(model)
    measures = []
    kinds = {sample.file.kind: TARGET_KINDS.find(sample.file.kind) for sample in samples}
    of_row = [sample.file.kind for sample in samples for _ in sample.rows]
    with autocast(device):
        for start in range(0, len(rows), per_pass):
            part = rows[start : start + per_pass].to(device)
            hidden = model(part[:, :-1])
            per_token = token_losses(hidden, model.head, part[:, 1:].reshape(-1))
            losses = per_token.view(len(part), -1).double()
            measures.append(_measured(losses, of_row[start : start + per_pass], kinds).cpu())
    of_windows = torch.cat(measures).split([len(sample.rows) for sample in samples])
    return {sample.name: _loss(sample, mean) for sample, mean in zip(samples, of_windows, strict=True)}


def _measured(losses: torch.Tensor, of_row: list[str], kinds: Mapping[str, Any]) -> torch.Tensor:
    """What each row's kind makes of its token losses, (rows, context) -> (rows,)."""
    if len(kinds) == 1:
        return next(iter(kinds.values()))(losses)
    found = losses.new_empty(len(losses))
    for kind, measure in kinds.items():
        rows = torch.tensor([each == kind for each in of_row], device=losses.device)
        found[rows] = measure(losses[rows])
    return found


def _loss(sample: Sample, of_windows: torch.Tensor) -> Loss:
    mean = float(of_windows.mean())
    if not math.isfinite(mean):
        raise ProxyError(f"the loss on {sample.name} is {mean}", where=sample.name, remedy="lower the learning rate")
    error = float(of_windows.std(correction=1)) / math.sqrt(len(of_windows))
    unit = sample.file.tokens / sample.file.bytes / math.log(2)
    return Loss(mean, error, mean * unit, error * unit, len(of_windows) * (sample.rows.shape[1] - 1))


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


def load_proxy(folder: Path, device: torch.device) -> Decoder:
    """A finished proxy's model.

    Raises:
        ProxyError: the folder is not a finished proxy, or its weights are not the ones that were written; it is then
            set aside.
    """
    from safetensors.torch import load_file

    require_intact(folder)
    spec = read_json(folder / RECORD)["spec"]
    model = Decoder(ModelSettings(**spec["model"]), spec["vocabulary"])
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.to(device).eval()


def evaluate_proxy(spec: EvaluationSpec, worker: int = 0) -> dict[str, Any]:
    """Evaluate a finished proxy on one target, or read what was measured before.

    Returns:
        ``id``, ``proxy``, ``target``, ``target_version`` and the fields of `Loss`; also written to ``spec.output``,
        with a checksum.
    """
    before = read_evaluation(spec.output)
    if before is not None:
        return before
    model = load_proxy(spec.proxy, device_of(spec.device, worker))
    sample = Sample(spec.target, spec.tokens, model.settings.context, spec.evaluation.windows)
    (loss,) = losses_on(model, [sample]).values()
    value = {
        "id": spec.id,
        "proxy": spec.proxy.name,
        "target": spec.target,
        "target_version": spec.tokens.measure_version,
        **asdict(loss),
    }
    write_evaluation(spec.output, value)
    return value
