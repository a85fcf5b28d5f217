"""The arena that trains: a study's data and models, for strategies that choose its mixture.

Runs on one mixture go through the study's engine as proxies do: they are known by what they are, so two strategies
that ask for the same one, or for one of the study's own proxies, share it. The account is charged all the same. They
lie apart from the study's proxies, because those are evidence for its decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.engine.choose import trainer_of
from regmix_pipeline.proxies.settings import ModelSettings, TrainingSettings
from regmix_pipeline.proxies.spec import EVALUATION_CODE, TRAINING_CODE, ProxySpec, TargetFile
from regmix_pipeline.proxies.tasks import (
    evaluation_specs,
    proxy_seed,
    proxy_specs,
    target_files,
    training_files,
    vocabulary_of,
    windows_as_target,
)
from regmix_pipeline.proxies.whole import trajectory_of
from regmix_pipeline.strategies.arena import Account, Run, Size
from regmix_pipeline.strategies.settings import StrategySettings
from regmix_pipeline.tokens.stage import current_manifest

if TYPE_CHECKING:
    from regmix_pipeline.strategies.trained.session import TrainedSession

CODE_VERSION = "1"
"""Raised by hand when the same question to an arena comes to mean another answer."""
FOLDER = "compared"
"""Under the lab's home: runs that strategies asked for."""
SAMPLE_WINDOWS = 16
"""Windows of a domain's training text that `Session.domain_losses` measures."""
FINAL_SEED = 1000
"""Target runs that are compared have other seeds than those that strategies learn from: theirs plus this."""


class TrainedArena:
    """An `Arena` over a study with its shards, tokenizer and inventory made.

    Args:
        lab: the study on disk; its workers train.
        label: who is at work, for progress.

    Raises:
        StudyError: the study has no strategies.
        LedgerError: something upstream was not made yet.
    """

    def __init__(self, lab: Lab, label: str = "strategies") -> None:
        self.lab, self.label, self.account = lab, label, Account()
        self.settings = settings_of(lab)
        self.domains = tuple(lab.domains)
        self.prior, self.limits = prior_and_limits(lab)
        self.objective: Mapping[str, float] = lab.study.objective
        self.targets = tuple(lab.targets)
        made_by_hand = lab.study.alternatives.get(self.settings.human or "")
        self.human = Mixture.from_weights(made_by_hand) if made_by_hand else None
        proxies, target = lab.study.proxies, self.settings.target or lab.study.confirmation
        assert target is not None, "the study file is checked"
        self._made: dict[str, tuple[ModelSettings, TrainingSettings]] = {
            "proxy": (proxies.model_settings, proxies.training_settings),
            "target": (target.model_settings, target.training_settings),
        }
        small = self.settings.small_proxy
        if small is not None:
            self._made["small_proxy"] = (small.model_settings, small.training_settings)
        sizes = {name: _size(name, *made, self._vocabulary) for name, made in self._made.items()}
        self.proxy, self.target, self.small_proxy = sizes["proxy"], sizes["target"], sizes.get("small_proxy")
        self.epochs = self._epochs()

    @cached_property
    def id(self) -> str:
        """Of all that the arena's answers follow from."""
        limits = [self.limits.caps.tolist(), self.limits.floors.tolist()]
        return "a" + fingerprint(
            *("arena", CODE_VERSION, TRAINING_CODE, EVALUATION_CODE, self.lab.study.seed, self._vocabulary),
            {name: [part.model_dump() for part in made] for name, made in self._made.items()},
            [self.domains, self.prior.tolist(), limits, self.objective, self.lab.study.limits.target_tokens],
            {name: file.version for name, file in {**self._files, **self._targets}.items()},
            [self.lab.study.proxies.evaluation.model_dump(), self.lab.study.proxies.repeat_as_target],
            None if self.human is None else self.human.id,
            None if self.epochs is None else self.epochs.tolist(),
        )

    @cached_property
    def _vocabulary(self) -> int:
        return vocabulary_of(self.lab)

    @cached_property
    def _files(self) -> dict[str, Any]:
        return training_files(self.lab)

    @cached_property
    def _targets(self) -> dict[str, TargetFile]:
        return target_files(self.lab)

    def _epochs(self) -> np.ndarray | None:
        asked = self.lab.study.limits.target_tokens
        if asked is None:
            return None
        domains = self.lab.study.domains
        return np.array([asked / (domains[name].available_tokens or self._files[name].tokens) for name in self.domains])

    def train(self, mixtures: Sequence[Mixture], size: Size, seed: int = 0) -> list[Run]:
        """See `Arena.train`: through the study's engine, several at once.

        Raises:
            ProxyError: a run failed; the others are kept.
        """
        specs = [self.spec(mixture, size, proxy_seed(self.lab, seed)) for mixture in mixtures]
        measured = self.measured(specs, size.name)
        self.account.add(size.tokens * len(specs), size.flops * len(specs), len(specs))
        return [
            _run(spec, seed, {name: value["loss"] for name, value in measured[spec.id].items()}, self._targets)
            for spec in specs
        ]

    def start(self, size: Size, seed: int = 0) -> TrainedSession:
        """See `Arena.start`: in this process, with one thread, as workers have it."""
        return self.session(size, proxy_seed(self.lab, seed))

    def session(self, size: Size, seed: int) -> TrainedSession:
        """The same with the very seed of the run."""
        from regmix_pipeline.proxies.evaluate import Sample
        from regmix_pipeline.proxies.worker import prepare_torch
        from regmix_pipeline.strategies.trained.session import TrainedSession

        prepare_torch()
        anything = Mixture.from_weights(dict.fromkeys(self.domains, 1.0))
        spec = self.spec(anything, size, seed)
        context, windows = spec.model.context, self.lab.study.proxies.evaluation.windows
        samples = [Sample(name, self._of_training(name), context, SAMPLE_WINDOWS) for name in self.domains]
        targets = [Sample(name, file, context, windows) for name, file in self._targets.items()]
        forward = float(spec.model.forward_flops_per_token(spec.vocabulary))
        return TrainedSession(spec, self.domains, size, samples, targets, self.account, forward)

    def spec(self, mixture: Mixture, size: Size, seed: int, *, confirmed: bool = False) -> ProxySpec:
        """The run on a mixture: where the study has trained the very one already, there, else among those compared.

        Args:
            mixture, size, seed: of the run; the seed is the very one.
            confirmed: whether a model of the confirmation will do, whose losses along the way are not known.
        """
        model, training = self._made[size.name]
        key = mixture.id
        found = proxy_specs(self.lab, {key: mixture}, model, training, {key: [seed]}, FOLDER)
        spec = found[key][0]
        if size.name == self.target.name:  # it repeats what the large run would, whatever the study's proxies do
            windows = windows_as_target(self.lab, self._files, training.tokens, model.context)
            spec = spec.model_copy(
                update={"available_windows": {name: windows[name] for name in spec.mixture if name in windows}}
            )
        for folder in ("proxies", *(["confirmations"] if confirmed else [])):
            there = spec.model_copy(update={"folder": self.lab.path(folder)})
            if there.is_finished:
                return there
        return spec

    def measured(self, specs: Iterable[ProxySpec], what: str) -> dict[str, dict[str, Mapping[str, Any]]]:
        """Train runs, each once, and measure them: run id -> target -> the evaluation's fields.

        Raises:
            ProxyError: a run failed; the others are kept.
        """
        runs = {spec.id: spec for spec in specs}
        progress = Progress(f"{self.label} {what}", len(runs), self.lab.say)
        failed = []
        for result in trainer_of(self.lab).run(runs.values()):
            failed += [] if result.error is None else [result.error]
            progress.advance(note="failed" if result.error else "")
        if failed:
            raise failed[0]
        found: dict[str, dict[str, Mapping[str, Any]]] = {key: {} for key in runs}
        tasks = evaluation_specs(self.lab, runs.values(), self._targets, self.lab.study.proxies.evaluation)
        for result in trainer_of(self.lab).run(tasks):
            if result.error is not None:
                raise result.error
            found[result.value["proxy"]][result.value["target"]] = result.value
        return found

    def _of_training(self, domain: str) -> TargetFile:
        """A domain's training tokens as something to be measured on."""
        split = current_manifest(self.lab, domain).splits["train"]
        return TargetFile.model_validate(self._files[domain].model_dump() | {"bytes": split.bytes})


def settings_of(lab: Lab) -> StrategySettings:
    """The study's comparison. Raises StudyError where it has none."""
    if lab.study.strategies is None:
        raise StudyError(
            "the study compares no strategies",
            where=str(lab.study_file),
            remedy="add a section `strategies: {names: [...]}`; see docs/how-to-compare.md",
        )
    return lab.study.strategies


def _size(name: str, model: ModelSettings, training: TrainingSettings, vocabulary: int) -> Size:
    steps = training.steps(model.context)
    tokens = steps * training.windows_per_step * model.context
    return Size(name, model.parameters(vocabulary), tokens, steps, float(model.training_flops_per_token(vocabulary)))


def _run(spec: ProxySpec, seed: int, losses: dict[str, float], targets: Mapping[str, TargetFile]) -> Run:
    rows = trajectory_of(spec.output)
    # A run of earlier days was looked at on what the targets were then.
    rows = [
        row
        for row in rows
        if row["target"] in targets and row["target_version"] == targets[row["target"]].measure_version
    ]
    steps = sorted({row["step"] for row in rows})
    along = {name: [row["loss"] for row in sorted(rows, key=_step) if row["target"] == name] for name in losses}
    whole = {name: np.array(values) for name, values in along.items() if len(values) == len(steps)}
    return Run(spec.exact_mixture, seed, losses, np.array(steps, dtype=float), whole)


def _step(row: Mapping[str, Any]) -> int:
    return row["step"]
