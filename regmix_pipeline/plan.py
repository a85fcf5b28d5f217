"""What a study takes, before any of it is spent: models, tokens, FLOPs, time and disk."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from regmix_pipeline.progress import clock
from regmix_pipeline.proxies.settings import ModelSettings, TrainingSettings
from regmix_pipeline.study import Study

EFFICIENCY = 0.5
"""Share of the matrix rate that a whole training step reaches; a planning figure, measured runs vary from .3 to .7."""
VOCABULARY_UNKNOWN = 50_432
"""Assumed when the tokenizer's file is not there yet: GPT-NeoX, padded."""
BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Work:
    """A batch of like models.

    Attributes:
        what: proxies or confirmation.
        models: how many.
        parameters: of one model.
        tokens: trained on by one model.
        flops: to train one model.
    """

    what: str
    models: int
    parameters: int
    tokens: int
    flops: float

    @property
    def total_flops(self) -> float:
        """FLOPs of all models together."""
        return self.models * self.flops

    @property
    def bytes(self) -> int:
        """Bytes of all checkpoints together."""
        return self.models * self.parameters * BYTES_PER_PARAMETER


@dataclass(frozen=True)
class StudyPlan:
    """What a study takes.

    Attributes:
        study: its name.
        domains: number of domains.
        vocabulary: rows of the embedding.
        works: proxies, then the confirmation if there is one.
        flops_per_second: sustained rate the times are for, all workers together.
        rate_source: where that rate comes from.
        caps: domain -> highest weight, for domains whose available tokens the study states.
    """

    study: str
    domains: int
    vocabulary: int
    works: tuple[Work, ...]
    flops_per_second: float
    rate_source: str
    caps: dict[str, float]

    def seconds(self, work: Work) -> float:
        """Time of a batch of models at the plan's rate."""
        return work.total_flops / self.flops_per_second


def plan_study(study: Study, *, teraflops: float | None = None, base: Path | None = None) -> StudyPlan:
    """Plan a study from its file alone; no text, tokenizer or model needs to be there.

    Args:
        study: the study.
        teraflops: sustained TFLOP/s of the hardware, all devices together; None measures this machine's matrix rate and
            takes half of it on every worker.
        base: folder that a relative tokenizer file starts at; None does not look for the file.
    """
    proxies, confirmation = study.proxies, study.confirmation
    vocabulary = proxies.vocabulary or _vocabulary(study, base)
    anchors = study.mixtures.anchors
    named = anchors.natural + anchors.uniform + anchors.single_domain * len(study.domains)
    mixtures = (study.mixtures.count + named) * study.trains
    several = min(proxies.noise.mixtures, study.mixtures.count) if proxies.noise.mixtures > 1 else 0
    further = several * max(proxies.noise.seeds - proxies.replicates, 0) * study.trains
    count = mixtures * proxies.replicates + further
    works = [_work("proxies", count, proxies.model_settings, proxies.training_settings, vocabulary)]
    if confirmation is not None:
        model, training = confirmation.model_settings, confirmation.training_settings
        works.append(_work("confirmation", 3 * confirmation.seeds, model, training, vocabulary))
    workers = proxies.workers or os.cpu_count() or 1
    rate = teraflops * 1e12 if teraflops else matrix_rate() * workers * EFFICIENCY
    source = (
        f"{teraflops:g} TFLOP/s as given" if teraflops else f"measured here: {workers} cores at half the matrix rate"
    )
    return StudyPlan(study.name, len(study.domains), vocabulary, tuple(works), rate, source, _caps(study))


def _vocabulary(study: Study, base: Path | None) -> int:
    """Size of the tokenizer's vocabulary, as far as it is known before it is trained or fetched."""
    settings = study.tokenizer
    if settings is not None and settings.train is not None:
        return settings.train.vocab_size
    if settings is None or base is None:
        return VOCABULARY_UNKNOWN
    from regmix_pipeline.tokens.tokenizer import checked

    path = base / str(settings.file)
    return checked(path, settings.eos_token).vocab_size if path.is_file() else VOCABULARY_UNKNOWN


def _work(what: str, models: int, model: ModelSettings, training: TrainingSettings, vocabulary: int) -> Work:
    tokens = training.steps(model.context) * training.windows_per_step * model.context
    flops = float(model.training_flops_per_token(vocabulary)) * tokens
    return Work(what, models, model.parameters(vocabulary), tokens, flops)


def _caps(study: Study) -> dict[str, float]:
    target, epochs = study.limits.target_tokens, study.limits.max_epochs
    caps = {}
    for name, domain in study.domains.items():
        bounds = [domain.cap] if domain.cap is not None else []
        if target is not None and domain.available_tokens is not None:
            bounds.append(epochs * domain.available_tokens / target)
        if bounds and min(bounds) < 1:
            caps[name] = min(bounds)
    return caps


def matrix_rate(seconds: float = 0.5, size: int = 1024) -> float:
    """FLOP/s of square float32 matrix products on one core, measured for about ``seconds``."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left, right = torch.randn(size, size), torch.randn(size, size)
        torch.mm(left, right)
        started, products = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            torch.mm(left, right)
            products += 1
        return products * 2 * size**3 / (time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)


def plan_as_json(plan: StudyPlan) -> dict[str, Any]:
    """A plan as a mapping: every batch of models with its FLOPs, seconds and bytes, and their sum of seconds."""
    works = [
        {**asdict(work), "total_flops": work.total_flops, "seconds": plan.seconds(work), "bytes": work.bytes}
        for work in plan.works
    ]
    return asdict(plan) | {"works": works, "seconds": sum(work["seconds"] for work in works)}


def show_plan(plan: StudyPlan, console: Console) -> None:
    """Print a plan as a table."""
    table = Table(
        title=f"study {plan.study}: {plan.domains} domains, vocabulary {plan.vocabulary:,}", title_justify="left"
    )
    for heading in ("", "models", "parameters", "tokens each", "FLOPs each", "FLOPs", "time", "checkpoints"):
        table.add_column(heading, justify="left" if not heading else "right")
    for work in plan.works:
        table.add_row(
            work.what,
            f"{work.models:,}",
            f"{work.parameters / 1e6:,.1f} M",
            f"{work.tokens / 1e6:,.2f} M",
            f"{work.flops:.2e}",
            f"{work.total_flops:.2e}",
            _duration(plan.seconds(work)),
            f"{work.bytes / 1e9:,.2f} GB",
        )
    console.print(table)
    total = sum(plan.seconds(work) for work in plan.works)
    console.print(
        f"training takes about {_duration(total)} ({plan.rate_source}: {plan.flops_per_second / 1e12:.3g} TFLOP/s)"
    )
    if plan.caps:
        console.print(
            "caps from the tokens stated: " + ", ".join(f"{name} {cap:.1%}" for name, cap in plan.caps.items())
        )


def _duration(seconds: float) -> str:
    return clock(seconds) if seconds < 2 * 86_400 else f"{seconds / 86_400:,.0f} days"
