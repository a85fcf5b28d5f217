"""What is to be trained or evaluated: everything a worker process needs, as JSON, and the ids of the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.commands.trainer import Trainer
from regmix_pipeline.proxies.integrity import RECORD, REPORTED, STATE, TRAJECTORY, WEIGHTS
from regmix_pipeline.proxies.target_kinds import TARGET_KINDS
from regmix_pipeline.registry import code_version
from regmix_pipeline.study.coordinates import domain_of, phase_of
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.proxies import EvaluationSettings, ModelSettings, TrainingSettings

TRAINING_CODE = "2"
"""Raised by hand when the same spec comes to mean other weights."""
EVALUATION_CODE = "1"
"""Raised by hand when the same checkpoint and target come to mean another loss."""
COMMAND_CODE = "command 1"
"""Raised by hand when the same command is given something else."""
TASK = "task"
"""Kind of a target that is a task: its file holds items, and no windows."""
TASK_CODE = "1"
"""Raised by hand when the same checkpoint and task come to mean another loss."""

PROXY_FILES = (WEIGHTS, RECORD, TRAJECTORY)
"""What a finished proxy's folder holds."""

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["uint16", "uint32"]


class TokenFile(Settings):
    """A split of a token shard on disk: raw little-endian tokens."""

    path: Path
    """The `train.ds` or `validation.ds`, or the list of extents of tokens that are read where they lie."""
    dtype: Dtype
    """Type of a token."""
    tokens: int = Field(gt=0)
    """Tokens in the file."""
    version: str
    """Version of the shard."""
    sha256: str = ""
    """SHA-256 of the tokens, checked before it is first used; empty for no check."""


class TargetFile(TokenFile):
    """A validation split whose loss is measured."""

    bytes: int = Field(gt=0)
    """UTF-8 bytes of the text the tokens represent; of a task, of its right continuations."""
    kind: str = "text"
    """What is measured, one of `TARGET_KINDS`, or `TASK`: then `tokens` counts the numbers of a file of items."""

    @property
    def measure_version(self) -> str:
        """Version of what is measured: the shard's, and the kind's where it is not the plain loss."""
        if self.kind == "text":
            return self.version
        if self.kind == TASK:
            return f"{self.version}-{fingerprint(TASK, TASK_CODE)}"
        return f"{self.version}-{fingerprint(self.kind, code_version(TARGET_KINDS.find(self.kind)))}"


class ProxySpec(Settings):
    """A proxy to train."""

    mixture: dict[str, int]
    """Domain -> weight in parts per million, summing to 1,000,000; of several `phases`, ``<phase>/<domain>`` -> weight
    of the domain in that phase."""
    phases_together: tuple[tuple[str, int], ...] = ()
    """Phases in order and the parts per million of the training that each takes, where the mixture holds one for each
    of several; the weights of a phase sum to its parts. Empty: one mixture throughout."""
    model: ModelSettings
    """The model."""
    vocabulary: int = Field(gt=1)
    """Size of the tokenizer's vocabulary."""
    training: TrainingSettings
    """The training."""
    seed: int = Field(ge=0)
    """Decides the initial weights and the order of windows inside each domain."""
    shards: dict[str, TokenFile]
    """Domain -> training tokens; at least the domains of positive weight."""
    available_windows: dict[str, int] = Field(default_factory=dict)
    """Domain -> windows the proxy may see, to repeat a domain as often as the large run would. Default: all."""
    targets: dict[str, TargetFile] = Field(default_factory=dict)
    """Target -> validation tokens, for the losses sampled during training. Not part of the proxy's identity."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How losses are sampled during training. Not part of the proxy's identity."""
    start: ProxySpec | None = None
    """The model of an earlier phase that it goes on from: weights, AdamW's averages, and what was drawn of each domain.
    Its steps come before this one's in the schedule of learning rates. None: it begins with weights of its own."""
    steps_after: int = Field(default=0, ge=0)
    """Steps of the phases that go on from it, which the schedule of learning rates counts. 0: none goes on."""
    stop_at: int | None = Field(default=None, gt=0)
    """Step after which to stop, on the way to ``training.tokens``. Default: none."""
    landmark: int | None = Field(default=None, gt=0)
    """Step at which the proxy is also written as one that stops there would be. Not part of the proxy's identity."""
    trainer: Trainer | None = None
    """The user's command that trains it. None: this package does."""
    folder: Path
    """The proxy is written to ``folder/<proxy id>``."""
    device: Device = "auto"
    """Where to train: cuda if there is one, else cpu. Not part of the proxy's identity."""
    snapshot_seconds: float = Field(default=120.0, ge=0)
    """Time between snapshots that a killed training continues from; 0 for one after every step. Not part of the
    proxy's identity."""

    @model_validator(mode="after")
    def _complete(self) -> ProxySpec:
        missing = sorted(set(self.drawn) - set(self.shards))
        if missing:
            raise ValueError(f"no training tokens for {missing}")
        empty = sorted(domain for domain, windows in self.available_windows.items() if windows < 1)
        if empty:
            raise ValueError(f"no windows available for {empty}")
        for phase, parts in self.phases_together:
            held = sum(part for name, part in self.mixture.items() if phase_of(name) == phase)
            if held != parts:
                raise ValueError(f"the weights of {phase} sum to {held} parts, not {parts}")
        return self

    @cached_property
    def exact_mixture(self) -> Mixture:
        """The mixture, checked."""
        return Mixture.of(self.mixture)

    @property
    def drawn(self) -> list[str]:
        """The domains that it draws on, sorted."""
        return sorted({domain_of(name) for name, _ in self.exact_mixture.parts})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what was derived from the fields is derived again."""
        copied = super().model_copy(update=update, deep=deep)
        for derived in ("exact_mixture", "id"):
            vars(copied).pop(derived, None)
        return copied

    @cached_property
    def id(self) -> str:
        """Proxy id: ``p`` and 16 hex digits over all that shapes the weights. Domains of weight zero do not matter."""
        drawn = self.drawn
        if self.trainer is not None:
            return "p" + self._by_command(self.trainer, drawn)
        return "p" + fingerprint(
            "proxy",
            TRAINING_CODE,
            self.exact_mixture.id,
            self.model.model_dump(),
            self.vocabulary,
            self.training.model_dump(),
            self.seed,
            {domain: self.shards[domain].version for domain in drawn},
            {domain: self.available_windows[domain] for domain in drawn if domain in self.available_windows},
            *([] if self.stop_at is None else [["stop", self.stop_at]]),
            *([] if self.start is None else [["goes on from", self.start.id]]),
            *([["steps after", self.steps_after]] if self.steps_after else []),
            *([["phases", self.phases_together]] if self.phases_together else []),
        )

    def _by_command(self, trainer: Trainer, drawn: list[str]) -> str:
        """The same for a command: its losses cannot be measured again, so what it measures is part of it."""
        return fingerprint(
            "command",
            COMMAND_CODE,
            trainer.identity,
            self.exact_mixture.id,
            self.training.tokens,
            self.seed,
            {domain: self.shards[domain].version for domain in drawn},
            self.available_tokens,
            {name: file.measure_version for name, file in sorted(self.targets.items())},
        )

    @property
    def available_tokens(self) -> dict[str, int]:
        """Domain -> tokens that the proxy may see, to repeat the domain as often as the large run would."""
        found: dict[str, int] = {}
        for domain in self.drawn:
            whole, windows = self.shards[domain].tokens, self.available_windows.get(domain)
            here = whole if windows is None else min(whole, windows * self.model.context)
            found[domain] = here if self.trainer is None else self.trainer.available.get(domain, here)
        return found

    @property
    def phases(self) -> list[ProxySpec]:
        """The model of every phase: the first one's first, this one last."""
        return [*([] if self.start is None else self.start.phases), self]

    @property
    def steps_before(self) -> int:
        """Steps of the earlier phases, as the schedule of learning rates counts them."""
        return sum(each.training.steps(each.model.context) for each in self.phases[:-1])

    @property
    def evidence(self) -> str:
        """The file of a finished proxy whose checksum is in its record: its weights, or the losses reported of it."""
        return PROXY_FILES[0] if self.trainer is None else REPORTED

    @property
    def files(self) -> tuple[str, ...]:
        """What a finished proxy's folder holds."""
        return (self.evidence, *PROXY_FILES[1:], *((STATE,) if self.steps_after else ()))

    @property
    def output(self) -> Path:
        """The finished proxy's folder."""
        return self.folder / self.id

    @property
    def is_finished(self) -> bool:
        """Whether the finished proxy's folder is there and whole."""
        output = self.output  # its name is a hash: taken once
        return all((output / name).is_file() for name in self.files)

    @property
    def at_landmark(self) -> ProxySpec:
        """The proxy that is also written on the way, as one that stops at the landmark."""
        return self.model_copy(update={"stop_at": self.landmark, "landmark": None})

    @property
    def snapshot(self) -> Path:
        """File that an unfinished training continues from."""
        return self.folder / f".{self.id}.snapshot"

    @property
    def live_steps(self) -> Path:
        """File with the steps of an unfinished training; see `live`."""
        return self.folder / f".{self.id}.steps.jsonl"

    @property
    def lock(self) -> Path:
        """Lock that whoever trains the proxy holds, so that two runs do not train it twice."""
        return self.folder.with_name(f"{self.folder.name}-locks") / self.id


def starts_of(specs: Iterable[ProxySpec]) -> list[list[ProxySpec]]:
    """The models of earlier phases that ``specs`` go on from, each once: a list for each phase."""
    phases = zip(*(spec.phases[:-1] for spec in specs), strict=True)
    return [list({spec.id: spec for spec in each}.values()) for each in phases]


def files_of(specs: Sequence[ProxySpec]) -> list[Path]:
    """All files of finished proxies, name by name."""
    return [spec.output / name for name in (specs[0].files if specs else ()) for spec in specs]


class EvaluationSpec(Settings):
    """A finished proxy to evaluate on one target."""

    proxy: Path
    """The finished proxy's folder."""
    target: str
    """Name of the target."""
    tokens: TargetFile
    """Its validation tokens."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How many windows."""
    reported: bool = False
    """Whether a command of the user's own trained and measured the proxy: the loss is then read, not measured."""
    folder: Path
    """The result is written to ``folder/<evaluation id>.json``."""
    device: Device = "auto"
    """Where to evaluate. Not part of the evaluation's identity."""

    @property
    def id(self) -> str:
        """Evaluation id: ``e`` and 16 hex digits over proxy id, target version, windows or items, and code."""
        key = (
            "evaluation",
            EVALUATION_CODE,
            self.proxy.name,
            self.target,
            self.tokens.measure_version,
            self.evaluation.windows if self.tokens.kind != TASK else {"items": self.evaluation.items},
        )
        return "e" + fingerprint(*key)

    @property
    def output(self) -> Path:
        """The finished evaluation's file."""
        return self.folder / f"{self.id}.json"
