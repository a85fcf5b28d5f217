"""The proxy's model, its training and how its losses are measured.

Sizes and defaults of the `regmix-*` and `tinyllama-1b` presets are those of RegMix (Liu et al., arXiv 2407.01492): its
code's `lit_gpt/config.py` and the paper's section 4. All have as many key-value heads as heads.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from regmix_pipeline.errors import StudyError
from regmix_pipeline.study.settings.base import Settings, inside, problem_of

_BYTES_OF_A_PASS = 8 * 2**30
"""Activations that a pass may keep on CUDA; a few workers share a device."""


class ModelSettings(Settings):
    """A Llama-like decoder: RMSNorm, rotary positions, causal attention, SwiGLU, untied head, no biases."""

    context: int = Field(default=2048, ge=8, le=1 << 20)
    """Tokens a window holds."""
    layers: int = Field(default=2, ge=1, le=1 << 10)
    """Decoder blocks."""
    width: int = Field(default=256, ge=8, le=1 << 17)
    """Width of the residual stream."""
    heads: int = Field(default=8, ge=1, le=1 << 12)
    """Attention heads; width / heads must be even."""
    ffn_width: int = Field(default=512, ge=8, le=1 << 20)
    """Inner width of the SwiGLU."""
    rope_theta: float = Field(default=1e4, gt=1)
    """Base of the rotary positions' wavelengths."""
    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the mean square inside RMSNorm."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelSettings:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")
        return self

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ModelSettings:
        """A preset with some fields changed.

        Raises:
            StudyError: there is no such preset.
        """
        return cls.model_validate(_preset(name)["model"] | changes)

    def non_embedding_parameters(self) -> int:
        """Parameters outside the embedding and the head: layers (4 d^2 + 3 d f + 2 d) + d."""
        d, f = self.width, self.ffn_width
        return self.layers * (4 * d * d + 3 * d * f + 2 * d) + d

    def parameters(self, vocabulary: int) -> int:
        """All parameters: 2 V d + the non-embedding ones."""
        return 2 * vocabulary * self.width + self.non_embedding_parameters()

    def forward_flops_per_token(self, vocabulary: int) -> int:
        """Matrix FLOPs of a forward pass: 2 (layers (4 d^2 + 3 d f) + V d) + 2 layers T d.

        A multiply-add counts as two; the embedding is a look-up and counts nothing; the last term is causal attention,
        scores and values over (T + 1) / 2 positions on average, taken as T / 2.
        """
        d, f = self.width, self.ffn_width
        return 2 * (self.layers * (4 * d * d + 3 * d * f) + vocabulary * d) + 2 * self.layers * self.context * d

    def tokens_per_pass(self, device: str) -> int:
        """Tokens that go through the model at once in training; a step of more is several passes.

        On a CPU as many as stay near its caches. On CUDA enough to fill the device, but no more than a worker's share
        of its memory holds: a layer keeps about 12 d + 4 f numbers of two bytes a token for the backward pass.
        """
        if device != "cuda":
            return 2048
        kept = 2 * self.layers * (12 * self.width + 4 * self.ffn_width)
        return max(self.context, min(65_536, _BYTES_OF_A_PASS // kept))

    def training_flops_per_token(self, vocabulary: int) -> int:
        """FLOPs of a forward and a backward pass: 3 x the forward's (Kaplan et al., arXiv 2001.08361, section 2.1)."""
        return 3 * self.forward_flops_per_token(vocabulary)


class TrainingSettings(Settings):
    """How a proxy is trained. Everything here is part of a proxy's identity."""

    tokens: int = Field(default=1_048_576_000, gt=0, le=10**15)
    """Tokens to train on; rounded down to whole steps."""
    windows_per_step: int = Field(default=512, ge=1, le=1 << 24)
    """Windows in an optimiser step."""
    learning_rate: float = Field(default=4e-4, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps of linear warm-up."""
    schedule: Literal["constant", "cosine", "wsd"] = "constant"
    """After the warm-up: constant (RegMix), cosine, or constant then linear decay (warm-up, stable, decay)."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """Share of all steps in which `wsd` decays; 1 is a linear decay from the end of the warm-up."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the end of `cosine` and `wsd`, as a share of the peak."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay, on every parameter as in RegMix's code."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay of the mean gradient."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """AdamW's decay of the mean squared gradient."""
    adam_eps: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    draws: Literal["quota", "multinomial"] = "quota"
    """How each window's domain is chosen: by quota, exact at every step, or by dice, as RegMix's code does."""

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainingSettings:
        """A preset's default training with some fields changed.

        Raises:
            StudyError: there is no such preset.
        """
        return cls.model_validate(_preset(name)["training"] | changes)

    def steps(self, context: int) -> int:
        """Optimiser steps: tokens // (windows per step x context).

        Raises:
            StudyError: the budget is less than one step.
        """
        steps = self.tokens // (self.windows_per_step * context)
        if steps < 1:
            raise StudyError(
                f"{self.tokens} tokens are less than one step of {self.windows_per_step} x {context}",
                where="training.tokens",
                remedy="raise tokens or lower windows_per_step",
            )
        return steps

    def slack(self, context: int) -> float:
        """Tokens by which a domain's executed tokens may miss its weight: a window, or five deviations of dice."""
        windows = self.steps(context) * self.windows_per_step
        return context * (1.0 if self.draws == "quota" else 5 * math.sqrt(windows) / 2)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` (from 0) out of ``steps``: a pure function, so a resumed run continues exactly."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return self.learning_rate
        left = (steps - step) / max(1, steps - self.warmup_steps)
        if self.schedule == "cosine":
            share = 0.5 * (1 - math.cos(math.pi * left))
        else:
            share = min(
                1.0, (steps - step) / max(1, min(steps - self.warmup_steps, round(self.decay_fraction * steps)))
            )
        return self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * share)


def check_trainable(model: ModelSettings, training: TrainingSettings) -> None:
    """Raise ValueError when a model cannot be trained as asked: unknown fields were refused before."""
    try:
        steps = training.steps(model.context)
    except StudyError as error:
        raise ValueError(f"{error.problem}: {error.remedy}") from error
    if training.warmup_steps >= steps:
        raise ValueError(
            f"a warm-up of {training.warmup_steps} steps is not shorter than the {steps} steps of training"
        )


class EvaluationSettings(Settings):
    """How a proxy's losses are measured. Windows are fixed, so that differences between proxies are paired."""

    windows: int = Field(default=64, ge=2, le=1 << 24)
    """Windows per target for the final losses, evenly spaced over its validation split. Tasks have items instead."""
    items: int | None = Field(default=None, ge=2, le=1 << 24)
    """Items per task for the final losses, evenly spaced. Default: all of them."""
    trajectory_points: int = Field(default=6, ge=0, le=1_000)
    """Steps at which losses are sampled during training, evenly spaced in the logarithm, the last included. A change
    holds for proxies that are trained after it."""
    trajectory_windows: int = Field(default=4, ge=2, le=1 << 20)
    """Windows per target for each of them; of a task, 16 times as many items."""

    def recipe(self) -> dict[str, Any]:
        """What losses follow from, JSON-able. Where all items are measured nothing is said of them, as before there
        were tasks: what stays the same keeps its recipe."""
        return self.model_dump(mode="json", exclude=None if self.items else {"items"})

    def trajectory_steps(self, steps: int) -> list[int]:
        """Numbers of steps taken at which to sample, log-spaced from steps / 2^points up to ``steps``, increasing."""
        points = self.trajectory_points
        return sorted({max(1, round(steps * 2.0 ** (point - points + 1))) for point in range(points)})


class EarlyStoppingSettings(Settings):
    """Stop proxies whose final losses follow from the losses they have; see proxies/early_stopping.py."""

    at: float = Field(default=0.5, gt=0, lt=1)
    """Share of the steps after which a proxy may stop."""
    pilots: int = Field(default=16, ge=4)
    """Mixtures trained to the end first, from which it is learned whether the others may stop."""
    tolerance: float = Field(default=0.1, gt=0, le=1)
    """Highest error of the final losses extrapolated, as a share of their spread over mixtures, on any target that
    counts. Above it all proxies are trained to the end."""


class NoiseSettings(Settings):
    """Mixtures trained with several seeds, to separate a loss from chance."""

    mixtures: int = Field(default=8, ge=0, le=100_000)
    """How many of the sampled mixtures are trained with several seeds. 0 or 1: the noise floor stays unknown."""
    seeds: int = Field(default=2, ge=2, le=1_000)
    """Seeds of each of them."""
    flag_below: float = Field(default=2.0, ge=0)
    """A target whose mixtures' losses spread less than this many times the noise is flagged."""
    downweight: bool = True
    """Let targets flagged so count in the objective only in proportion to the share of their variance that is
    signal."""
    flag_error_below: float | None = Field(default=None, ge=0)
    """A target whose mixtures' losses spread less than this many times their standard error over items or windows is
    flagged. Default: 0.5 in a study with tasks, whose items may be few; otherwise it is not looked at."""
    weight_by_signal: bool = False
    """Let every target count in proportion to the share of its variance that is signal, flagged or not: by seeds, or,
    where no mixture has several, by its standard errors."""


_WITH_PAPERS_TRAINING: dict[str, Any] = {}

_SHORT = {"schedule": "wsd", "decay_fraction": 1.0, "beta1": 0.8, "beta2": 0.98}
"""Found best for a few hundred steps: many small ones, a decay to zero, and a short memory of the mean gradient."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "regmix-1m": {
        "model": {"context": 2048, "layers": 2, "width": 256, "heads": 8, "ffn_width": 512},
        "training": _WITH_PAPERS_TRAINING,
    },
    "regmix-60m": {
        "model": {"context": 2048, "layers": 10, "width": 768, "heads": 8, "ffn_width": 1536},
        "training": _WITH_PAPERS_TRAINING,
    },
    "tinyllama-1b": {
        "model": {"context": 2048, "layers": 22, "width": 2048, "heads": 16, "ffn_width": 5632},
        "training": {"tokens": 26_214_400_000, "warmup_steps": 1000, "schedule": "cosine", "final_fraction": 0.025},
    },
    "demo": {
        "model": {"context": 64, "layers": 2, "width": 32, "heads": 2, "ffn_width": 128},
        "training": _SHORT | {"tokens": 147_456, "windows_per_step": 8, "learning_rate": 1.5e-2, "warmup_steps": 16},
    },
    "demo-large": {
        "model": {"context": 64, "layers": 3, "width": 96, "heads": 3, "ffn_width": 328},
        "training": _SHORT | {"tokens": 589_824, "windows_per_step": 16, "learning_rate": 6e-3, "warmup_steps": 32},
    },
}
"""Name -> model and training. `demo-large` has four times `demo`'s parameters (at vocabulary 4096) and tokens."""


def _preset(name: str) -> dict[str, dict[str, Any]]:
    if name not in PRESETS:
        raise StudyError(f"no preset {name!r}", where="preset", remedy=f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


class ModelAndTraining(Settings):
    """A model and how it is trained, from a preset."""

    preset: str = "demo-large"
    """Model and its default training."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Fields of the preset's model to change."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Fields of the preset's training to change."""

    @property
    def model_settings(self) -> ModelSettings:
        """The preset's model with these changes."""
        return ModelSettings.preset(self.preset, **self.model)

    @property
    def training_settings(self) -> TrainingSettings:
        """The preset's training with these changes."""
        return TrainingSettings.preset(self.preset, **self.training)

    @model_validator(mode="after")
    def _trainable(self) -> ModelAndTraining:
        if self.preset not in PRESETS:
            raise inside(("preset",), f"there is no preset {self.preset!r}: choose one of {', '.join(PRESETS)}")
        for part, read in (("model", ModelSettings.preset), ("training", TrainingSettings.preset)):
            try:
                read(self.preset, **getattr(self, part))
            except ValidationError as error:
                place = (part, *error.errors()[0]["loc"])
                raise inside(place, problem_of(error.errors()[0], read(self.preset))) from None
        check_trainable(self.model_settings, self.training_settings)
        return self
