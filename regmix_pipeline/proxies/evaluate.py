# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A proxy's loss on a target, with its standard error.

Windows are the unit that is independent of its neighbours: tokens of one window share a document, so the standard error
is that of the mean over windows. Every proxy is measured on the same windows, so differences between proxies are paired
and far more certain than each loss by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import read_json
from regmix_pipeline.proxies.device import autocast, device_of, rows_per_pass
from regmix_pipeline.proxies.evaluations import read_evaluation, write_evaluation
from regmix_pipeline.proxies.integrity import RECORD, WEIGHTS, require_intact
from regmix_pipeline.proxies.loss import token_losses
from regmix_pipeline.proxies.measured import Loss
from regmix_pipeline.proxies.model import Decoder
from regmix_pipeline.proxies.spec import TASK, EvaluationSpec, TargetFile
from regmix_pipeline.proxies.target_kinds import TARGET_KINDS
from regmix_pipeline.proxies.task_losses import TaskSample
from regmix_pipeline.proxies.windows import Windows
from regmix_pipeline.study.settings.proxies import EvaluationSettings, ModelSettings

ITEMS_PER_WINDOW = 16
"""Items of a task that a model in training is measured on for each window of text."""


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


AnySample = Sample | TaskSample
"""What a target is measured on: windows of its text, or items of its task."""


def sample_of(name: str, file: TargetFile, context: int, settings: EvaluationSettings) -> AnySample:
    """What a finished model is measured on.

    Raises:
        TokenError, ProxyError: as `Sample` and `TaskSample`.
    """
    if file.kind == TASK:
        return TaskSample(name, file, settings.items)
    return Sample(name, file, context, settings.windows)


def sample_on_the_way(name: str, file: TargetFile, context: int, settings: EvaluationSettings) -> AnySample:
    """What a model in training is measured on: less, and no choices of a task.

    Raises:
        TokenError, ProxyError: as `Sample` and `TaskSample`.
    """
    if file.kind == TASK:
        items = min(ITEMS_PER_WINDOW * settings.trajectory_windows, settings.items or 2**62)
        return TaskSample(name, file, items, choices=False)
    return Sample(name, file, context, settings.trajectory_windows)


def losses_on(model: Decoder, samples: Sequence[AnySample]) -> dict[str, Loss]:
    """Loss on each sample; samples of text share passes, so small ones cost little.

    Raises:
        ProxyError: a token is outside the vocabulary, or a loss is not finite.
    """
    found = _losses_on_text(model, [each for each in samples if isinstance(each, Sample)])
    found |= {each.name: each.measure(model) for each in samples if isinstance(each, TaskSample)}
    return {each.name: found[each.name] for each in samples}


@torch.no_grad()
def _losses_on_text(model: Decoder, samples: Sequence[Sample]) -> dict[str, Loss]:
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
    sample = sample_of(spec.target, spec.tokens, model.settings.context, spec.evaluation)
    (loss,) = losses_on(model, [sample]).values()
    value = {
        "id": spec.id,
        "proxy": spec.proxy.name,
        "target": spec.target,
        "target_version": spec.tokens.measure_version,
        **loss.as_json(),
    }
    write_evaluation(spec.output, value)
    return value
