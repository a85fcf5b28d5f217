"""The models that a study asks for: how many, how large, on how many tokens, measured on how much."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from regmix_pipeline.strategies import catalogue
from regmix_pipeline.study.phases import proxy_tokens, settled, tokens_before
from regmix_pipeline.study.repetition import max_epochs_of
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings
from regmix_pipeline.study.settings.strategies import RESERVED, StrategySettings
from regmix_pipeline.study.study import Study

VOCABULARY_UNKNOWN = 50_432
"""Assumed when the tokenizer's file is not there yet: GPT-NeoX, padded."""
BYTES_PER_PARAMETER = 4
COMPARED = 3
"""Mixtures that a confirmation trains on: the chosen, the natural and the uniform one."""
LARGER, SIZES = "larger proxies", "size_runs"
"""What batches of larger proxies are called, and the stage that trains them."""
STRATEGIES = "strategy_comparison"
"""The stage that trains what a `Comparison` does."""


class Comparison(StrEnum):
    """Batches that a comparison of strategies trains: the strategies' proxies, and candidates of every size."""

    PROXIES = "compared"
    SMALL_PROXIES = "small proxies"
    TARGETS = "targets"


@dataclass(frozen=True)
class Work:
    """A batch of like models.

    Attributes:
        what: proxies, larger proxies 1 and 2, confirmation, or one of `Comparison`.
        models: how many.
        model: their shape.
        training: how one is trained.
        vocabulary: rows of the embedding.
        targets: targets that each is measured on at the end.
        windows: windows measured for each of them.
        sampled_windows: windows measured along the way, all targets and points together.
        command: whether a command of the user's own trains them: their shape is then not known.
        before: batch whose models all go on from this one, which is of an earlier phase; "" for others.
    """

    what: str
    models: int
    model: ModelSettings
    training: TrainingSettings
    vocabulary: int
    targets: int
    windows: int
    sampled_windows: int
    command: bool = False
    before: str = ""

    @property
    def parameters(self) -> int:
        """Parameters of one model, embedding and head among them."""
        return self.model.parameters(self.vocabulary)

    @property
    def steps(self) -> int:
        """Optimiser steps of one model."""
        return self.training.steps(self.model.context)

    @property
    def tokens(self) -> int:
        """Tokens that one model is trained on."""
        if self.command:
            return self.training.tokens
        return self.steps * self.training.windows_per_step * self.model.context

    @property
    def flops(self) -> float:
        """FLOPs of one model's training."""
        return float(self.model.training_flops_per_token(self.vocabulary)) * self.tokens

    @property
    def total_flops(self) -> float:
        """FLOPs of all models' training."""
        return self.models * self.flops

    @property
    def window_flops(self) -> float:
        """FLOPs of measuring one window."""
        return float(self.model.forward_flops_per_token(self.vocabulary)) * self.model.context

    @property
    def evaluations(self) -> int:
        """Losses measured at the end, one a model and target."""
        return self.models * self.targets

    @property
    def bytes(self) -> int:
        """Bytes of all checkpoints; of a command's, which it keeps as it likes, none. Those that others go on from have
        AdamW's averages as well."""
        kept = 3 if self.before else 1
        return 0 if self.command else self.models * self.parameters * BYTES_PER_PARAMETER * kept


def works_of(study: Study, base: Path | None = None) -> tuple[Work, ...]:
    """The proxies, then the confirmation's models and the comparison's, if there are such; none where only imported
    runs are used.

    Args:
        study: the study.
        base: folder that a relative tokenizer file starts at; None does not look for the file.
    """
    if not study.trains:
        return ()
    proxies, confirmation, targets = study.proxies, study.confirmation, len(study.targets)
    vocabulary, evaluation = proxies.vocabulary or vocabulary_of(study, base), proxies.evaluation
    model, training = proxies.model_settings, proxies.training_settings
    points = len(evaluation.trajectory_steps(training.steps(model.context)))
    sampled = points * targets * evaluation.trajectory_windows
    own = proxies.trainer is None
    count, windows = proxy_count(study), evaluation.windows
    works = [
        Work("proxies", count, model, training, vocabulary, targets, windows, sampled if own else 0, command=not own)
    ]
    for number, size in enumerate(proxies.sizes):
        model, training, models = size.model_settings, size.training_settings, min(size.mixtures, mixture_count(study))
        works.append(Work(f"{LARGER} {number + 1}", models, model, training, vocabulary, targets, windows, 0))
    if confirmation is not None:
        model, training = confirmation.model_settings, confirmation.training_settings
        count = COMPARED * confirmation.seeds
        works.append(Work("confirmation", count, model, training, vocabulary, targets, evaluation.windows, 0))
    earlier = [phase for work in works if not work.command for phase in _earlier(study, work)]
    return (*works, *earlier, *_comparison(study, works[0]))


def _earlier(study: Study, work: Work) -> list[Work]:
    """The model of each earlier phase that a batch's models go on from; its losses are sampled along the way alone."""
    return [
        replace(
            work,
            what=f"{phase.name} of {work.what}",
            models=1,
            training=work.training.model_copy(update={"tokens": proxy_tokens(study, phase, work.training.tokens)}),
            targets=0,
            before=work.what,
        )
        for phase in settled(study)
    ]


def _comparison(study: Study, proxies: Work) -> list[Work]:
    """What a comparison of strategies trains at most: choices that spend their whole budget and share no run."""
    settings = study.strategies
    if settings is None:
        return []
    target = settings.target or study.confirmation
    assert target is not None, "the study file is checked"
    choices, tried = choices_and_candidates(settings)
    training = sum(getattr(catalogue.STRATEGIES.find(name), "trains", True) for name in settings.names)
    sizes = [
        (Comparison.PROXIES, training * settings.budget_proxies + tried, study.proxies),
        (Comparison.SMALL_PROXIES, tried, settings.small_proxy),
        # Of each choice the first seed's run is its candidate's as well.
        (Comparison.TARGETS, choices * settings.seeds + max(tried - choices, 0), target),
    ]
    return [
        replace(
            proxies,
            what=what,
            models=models,
            model=size.model_settings,
            training=size.training_settings,
            sampled_windows=0,
        )
        for what, models, size in sizes
        if models and size is not None
    ]


def choices_and_candidates(settings: StrategySettings) -> tuple[int, int]:
    """How many choices a comparison has, and at most how many candidates."""
    choices = len({*settings.names, *RESERVED})
    return choices, settings.candidate_count(choices)


def mixture_count(study: Study) -> int:
    """Mixtures that proxies are trained on: the sampled ones and the anchors."""
    anchors = study.mixtures.anchors
    named = anchors.natural + anchors.uniform + anchors.single_domain * len(study.domains)
    return (study.mixtures.count + named) * study.trains


def proxy_count(study: Study) -> int:
    """Proxies: one a mixture and seed, and the further seeds of the mixtures that give the noise floor."""
    proxies = study.proxies
    several = min(proxies.noise.mixtures, study.mixtures.count) if proxies.noise.mixtures > 1 else 0
    further = several * max(proxies.noise.seeds - proxies.replicates, 0)
    return mixture_count(study) * proxies.replicates + further * study.trains


def vocabulary_of(study: Study, base: Path | None) -> int:
    """Size of the tokenizer's vocabulary, as far as it is known before it is trained or fetched."""
    settings = study.tokenizer
    if settings is not None and settings.train is not None:
        return settings.train.vocab_size
    if settings is None or base is None or settings.file is None:
        return VOCABULARY_UNKNOWN
    from regmix_pipeline.tokens.tokenizer import checked

    path = base / str(settings.file)
    return checked(path, settings.eos_token).vocab_size if path.is_file() else VOCABULARY_UNKNOWN


def caps_of(study: Study) -> dict[str, float]:
    """Domain -> highest weight, for domains whose cap or available tokens the study states."""
    target, epochs, before = study.limits.target_tokens, max_epochs_of(study), tokens_before(study)
    caps = {}
    for name, domain in study.domains.items():
        bounds = [domain.cap] if domain.cap is not None else []
        if target is not None and domain.available_tokens is not None:
            left = epochs[name] * domain.available_tokens - before.get(name, 0)
            bounds.append(max(left, 0.0) / target)
        if bounds and min(bounds) < 1:
            caps[name] = min(bounds)
    return caps
