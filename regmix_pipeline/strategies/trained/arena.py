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

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.ngrams.stage import ngram_evidence
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.integrity import trajectory_of
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
from regmix_pipeline.proxies.workers.choose import executor_of
from regmix_pipeline.strategies.arena import Account, Run, Size
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings
from regmix_pipeline.study.settings.strategies import StrategySettings
from regmix_pipeline.tokens.stage import current_manifest

if TYPE_CHECKING:
    from regmix_pipeline.strategies.trained.session import TrainedSession

CODE_VERSION = "1"
"""Raised by hand when the same question to an arena comes to mean another answer."""
FOLDER = "compared"
"""Under the workspace's home: runs that strategies asked for."""
SAMPLE_WINDOWS = 16
"""Windows of a domain's training text that `Session.domain_losses` measures."""
FINAL_SEED = 1000
"""Target runs that are compared have other seeds than those that strategies learn from: theirs plus this."""


class TrainedArena:
    """An `Arena` over a study with its shards, tokenizer and inventory made.

    Args:
        workspace: the study on disk; its workers train.
        label: who is running, for progress.

    Raises:
        StudyError: the study has no strategies.
        LedgerError: something upstream was not made yet.
    """

    def __init__(self, workspace: Workspace, label: str = "strategies") -> None:
        self.workspace, self.label, self.account = workspace, label, Account()
        self.settings = settings_of(workspace)
        self.domains = tuple(workspace.domains)
        self.prior, self.limits = prior_and_limits(workspace)
        self.objective: Mapping[str, float] = workspace.study.objective
        self.targets = tuple(workspace.targets)
        made_by_hand = workspace.study.alternatives.get(self.settings.human or "")
        self.human = Mixture.from_weights(made_by_hand) if made_by_hand else None
        proxies, target = workspace.study.proxies, self.settings.target or workspace.study.confirmation
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
            *("arena", CODE_VERSION, TRAINING_CODE, EVALUATION_CODE, self.workspace.study.seed, self._vocabulary),
            {name: [part.model_dump() for part in made] for name, made in self._made.items()},
            [self.domains, self.prior.tolist(), limits, self.objective, self.workspace.study.limits.target_tokens],
            {name: file.version for name, file in {**self._files, **self._targets}.items()},
            [self.workspace.study.proxies.evaluation.recipe(), self.workspace.study.proxies.repeat_as_target],
            None if self.human is None else self.human.id,
            None if self.epochs is None else self.epochs.tolist(),
        )

    @property
    def counted(self) -> NgramEvidence | None:
        """See `Arena.counted`."""
        return ngram_evidence(self.workspace)

    @cached_property
    def _vocabulary(self) -> int:
        return vocabulary_of(self.workspace)

    @cached_property
    def _files(self) -> dict[str, Any]:
        return training_files(self.workspace)

    @cached_property
    def _targets(self) -> dict[str, TargetFile]:
        return target_files(self.workspace)

    def _epochs(self) -> np.ndarray | None:
        asked = self.workspace.study.limits.target_tokens
        if asked is None:
            return None
        domains = self.workspace.study.domains
        return np.array([asked / (domains[name].available_tokens or self._files[name].tokens) for name in self.domains])

    def train(self, mixtures: Sequence[Mixture], size: Size, seed: int = 0) -> list[Run]:
        """See `Arena.train`: through the study's engine, several at once.

        Raises:
            ProxyError: a run failed; the others are kept.
        """
        specs = [self.spec(mixture, size, proxy_seed(self.workspace, seed)) for mixture in mixtures]
        measured = self.measured(specs, size.name)
        self.account.add(size.tokens * len(specs), size.flops * len(specs), len(specs))
        return [
            _run(spec, seed, {name: value["loss"] for name, value in measured[spec.id].items()}, self._targets)
            for spec in specs
        ]

    def start(self, size: Size, seed: int = 0) -> TrainedSession:
        """See `Arena.start`: in this process, with one thread, as workers have it."""
        return self.session(size, proxy_seed(self.workspace, seed))

    def session(self, size: Size, seed: int) -> TrainedSession:
        """The same with the very seed of the run."""
        from regmix_pipeline.proxies.evaluate import Sample, sample_of
        from regmix_pipeline.proxies.workers.prepare import prepare_torch
        from regmix_pipeline.strategies.trained.session import TrainedSession

        prepare_torch()
        anything = Mixture.from_weights(dict.fromkeys(self.domains, 1.0))
        spec = self.spec(anything, size, seed)
        context, evaluation = spec.model.context, self.workspace.study.proxies.evaluation
        samples = [Sample(name, self._of_training(name), context, SAMPLE_WINDOWS) for name in self.domains]
        targets = [sample_of(name, file, context, evaluation) for name, file in self._targets.items()]
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
        found = proxy_specs(self.workspace, {key: mixture}, model, training, {key: [seed]}, FOLDER)
        spec = found[key][0]
        if size.name == self.target.name:  # it repeats what the large run would, whatever the study's proxies do
            windows = windows_as_target(self.workspace, self._files, training.tokens, model.context)
            spec = spec.model_copy(
                update={"available_windows": {name: windows[name] for name in spec.mixture if name in windows}}
            )
        for folder in ("proxies", *(["confirmations"] if confirmed else [])):
            there = spec.model_copy(update={"folder": self.workspace.path(folder)})
            if there.is_finished:
                return there
        return spec

    def measured(self, specs: Iterable[ProxySpec], what: str) -> dict[str, dict[str, Mapping[str, Any]]]:
        """Train runs, each once, and measure them: run id -> target -> the evaluation's fields.

        Raises:
            ProxyError: a run failed; the others are kept.
        """
        runs = {spec.id: spec for spec in specs}
        progress = Progress(f"{self.label} {what}", len(runs), self.workspace.say)
        failed = []
        for result in executor_of(self.workspace).run(runs.values()):
            failed += [] if result.error is None else [result.error]
            progress.advance(note="failed" if result.error else "")
        if failed:
            raise failed[0]
        found: dict[str, dict[str, Mapping[str, Any]]] = {key: {} for key in runs}
        tasks = evaluation_specs(self.workspace, runs.values(), self._targets, self.workspace.study.proxies.evaluation)
        for result in executor_of(self.workspace).run(tasks):
            if result.error is not None:
                raise result.error
            found[result.value["proxy"]][result.value["target"]] = result.value
        return found

    def _of_training(self, domain: str) -> TargetFile:
        """A domain's training tokens as something to be measured on."""
        split = current_manifest(self.workspace, domain).splits["train"]
        return TargetFile.model_validate(self._files[domain].model_dump() | {"bytes": split.bytes})


def settings_of(workspace: Workspace) -> StrategySettings:
    """The study's comparison. Raises StudyError where it has none."""
    if workspace.study.strategies is None:
        raise StudyError(
            "the study compares no strategies",
            where=str(workspace.study_file),
            remedy="add a section `strategies: {names: [...]}`; see docs/how-to-compare.md",
        )
    return workspace.study.strategies


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
