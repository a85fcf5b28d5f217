"""From the study to what workers need: token files, proxies to train, evaluations to make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.commands.trainer import Trainer
from regmix_pipeline.proxies.spec import TASK, TASK_CODE, EvaluationSpec, ProxySpec, TargetFile, TokenFile
from regmix_pipeline.proxies.target_kinds import TARGET_KINDS
from regmix_pipeline.study.coordinates import domains_of
from regmix_pipeline.study.phases import phase_parts, proxy_tokens, settled, shares_of
from regmix_pipeline.study.settings.proxies import EvaluationSettings, ModelSettings, TrainingSettings
from regmix_pipeline.tokens.stage import current_manifest, current_shard

PHASES = "phases"
"""Folder of a home that holds models of the phases before the last."""


def training_files(workspace: Workspace) -> dict[str, TokenFile]:
    """Domain -> its training tokens."""
    return {name: split_file(workspace, name, "train")[0] for name in workspace.domains}


def target_files(workspace: Workspace) -> dict[str, TargetFile]:
    """Target -> its validation tokens, or its items."""
    files = {}
    for name in workspace.targets:
        file, size = split_file(workspace, name, "validation")
        items = current_manifest(workspace, name).items
        if items is None:
            files[name] = TargetFile(**file.model_dump(), bytes=size, kind=workspace.study.targets[name].kind)
            continue
        whole = {"path": file.path.with_name(items.file), "dtype": "uint32", "tokens": items.numbers}
        files[name] = TargetFile(version=file.version, sha256=items.sha256, bytes=items.bytes, kind=TASK, **whole)
    return files


def split_file(workspace: Workspace, name: str, split: str) -> tuple[TokenFile, int]:
    """A split of a source's shard, and the UTF-8 bytes of its text."""
    manifest, folder = current_manifest(workspace, name), current_shard(workspace, name)
    part = manifest.splits[split]
    file = TokenFile(
        path=folder / part.file,
        dtype=manifest.dtype,
        tokens=part.tokens,
        version=manifest.version,
        sha256=part.sha256,
    )
    return file, part.bytes


def target_kinds(workspace: Workspace) -> dict[str, Any]:
    """Kinds of the targets that are not plain text, and the versions of the user's own: settings of a recipe."""
    kinds = {name: target.kind for name, target in workspace.study.targets.items() if target.kind != "text"}
    found: dict[str, Any] = {"target kinds": [kinds, TARGET_KINDS.own_versions(kinds.values())]} if kinds else {}
    tasks = workspace.study.tasks
    return found | ({"tasks": [tasks, workspace.study.proxies.evaluation.items, TASK_CODE]} if tasks else {})


def vocabulary_of(workspace: Workspace) -> int:
    """Rows of the embedding: the tokenizer's, as the shards' manifests say, or the study's padded number.

    Raises:
        StudyError: the study's number is smaller than the tokenizer's vocabulary.
    """
    tokenizer, asked = current_manifest(workspace, workspace.domains[0]).vocabulary, workspace.study.proxies.vocabulary
    if asked is not None and asked < tokenizer:
        raise StudyError(
            f"{asked} is less than the tokenizer's vocabulary of {tokenizer}",
            where="proxies.vocabulary",
            remedy=f"leave it out, or pad it to more than {tokenizer}",
        )
    return asked or tokenizer


def proxy_seed(workspace: Workspace, replicate: int) -> int:
    """Seed of a mixture's n-th proxy: the same for every mixture, so that proxies differ by their mixture alone."""
    return workspace.study.seed + replicate


def available_windows(
    workspace: Workspace, files: Mapping[str, TokenFile], training_tokens: int, context: int
) -> dict[str, int]:
    """Domain -> windows a proxy may see, so that it repeats each domain as often as the large run would.

    The large run draws weight x target tokens from what is available; scaled to the proxy's tokens, the same weight
    gives the same epochs when the proxy has available x proxy tokens / target tokens to draw from (arXiv 2606.07597).
    """
    if workspace.study.proxies.repeat_as_target is False:
        return {}
    return windows_as_target(workspace, files, training_tokens, context)


def windows_as_target(
    workspace: Workspace, files: Mapping[str, TokenFile], training_tokens: int, context: int
) -> dict[str, int]:
    """The same whatever the study's proxies do; empty where the study states no tokens of the large run."""
    target = workspace.study.limits.target_tokens
    if target is None:
        return {}
    windows = {}
    for name, file in files.items():
        available = workspace.study.domains[name].available_tokens or file.tokens
        scaled = int(available * training_tokens / target) // context
        windows[name] = max(1, min(scaled, (file.tokens - 1) // context))
    return windows


def proxy_specs(
    workspace: Workspace,
    mixtures: Mapping[str, Mixture],
    model: ModelSettings,
    training: TrainingSettings,
    seeds: Mapping[str, Sequence[int]],
    folder: str,
    *,
    trajectory: bool = True,
    trainer: Trainer | None = None,
) -> dict[str, list[ProxySpec]]:
    """Mixture id or name -> the models to train on it, one per seed, each written under ``folder`` of the workspace.

    Args:
        workspace: the study on disk.
        mixtures: id or name -> mixture.
        model, training: of all the models.
        seeds: the same id or name -> seeds.
        folder: under the workspace's home.
        trajectory: whether losses are sampled along the way.
        trainer: the user's command that trains them; None: this package does.

    Raises:
        LedgerError: a mixture draws on a domain that the study does not have.
    """
    files, targets = training_files(workspace), target_files(workspace)
    together = tuple(phase_parts(workspace.study).items())
    drawn = {key: domains_of(name for name, _ in mixture.parts) for key, mixture in mixtures.items()}
    gone = sorted({domain for domains in drawn.values() for domain in domains} - files.keys())
    if gone:
        raise LedgerError(
            f"the mixtures on record draw on {', '.join(gone)}, which the study no longer has",
            where="mixtures",
            remedy="`regmix run` brings them up to date first",
        )
    vocabulary = vocabulary_of(workspace)
    windows = available_windows(workspace, files, training.tokens, model.context)
    if trainer is not None and trainer.settings.data is not None:
        trainer = trainer.model_copy(update={"available": _available_elsewhere(workspace, files, training.tokens)})
    start = None
    if trainer is None:
        start = start_of(workspace, model, training, targets if trajectory else {})
    return {
        key: [
            ProxySpec(
                mixture=dict(mixture.parts),
                phases_together=together,
                model=model,
                vocabulary=vocabulary,
                training=training,
                seed=seed,
                shards={domain: files[domain] for domain in drawn[key]},
                available_windows={domain: windows[domain] for domain in drawn[key] if domain in windows},
                targets=targets if trajectory or trainer is not None else {},
                evaluation=workspace.study.proxies.evaluation,
                start=start,
                trainer=trainer,
                folder=workspace.path(folder),
            )
            for seed in seeds[key]
        ]
        for key, mixture in mixtures.items()
    }


def start_of(
    workspace: Workspace, model: ModelSettings, training: TrainingSettings, targets: Mapping[str, TargetFile]
) -> ProxySpec | None:
    """The model that was trained through the study's settled phases, from which all models of a kind go on.

    It has the study's first seed, whatever theirs are. None where the study states no phases.

    Args:
        workspace: the study on disk.
        model, training, targets: as of the models that go on from it.
    """
    study, phases = workspace.study, settled(workspace.study)
    if not phases:
        return None
    files, vocabulary = training_files(workspace), vocabulary_of(workspace)
    # One choice of windows for all phases, as many as the last one's proportion gives: epochs go on where they were.
    windows = available_windows(workspace, files, training.tokens, model.context)
    trainings = [
        training.model_copy(update={"tokens": proxy_tokens(study, phase, training.tokens)}) for phase in phases
    ]
    steps = [each.steps(model.context) for each in (*trainings, training)]
    start = None
    for number, (phase, each) in enumerate(zip(phases, trainings, strict=True)):
        mixture = dict(Mixture.from_weights(shares_of(phase)).parts)
        start = ProxySpec(
            mixture=mixture,
            model=model,
            vocabulary=vocabulary,
            training=each,
            seed=proxy_seed(workspace, 0),
            shards={domain: files[domain] for domain in mixture},
            available_windows={domain: windows[domain] for domain in mixture if domain in windows},
            targets=dict(targets),
            evaluation=study.proxies.evaluation,
            start=start,
            steps_after=sum(steps[number + 1 :]),
            # No read: whoever knows the ids of those that go on from it names it.
            folder=workspace.home / PHASES,
        )
    return start


def start_of_proxies(workspace: Workspace) -> ProxySpec | None:
    """The same of the study's proxies."""
    proxies = workspace.study.proxies
    return start_of(workspace, proxies.model_settings, proxies.training_settings, target_files(workspace))


def _available_elsewhere(workspace: Workspace, files: Mapping[str, TokenFile], training_tokens: int) -> dict[str, int]:
    """Domain -> tokens that a proxy may see of data that the shards are only a sample of."""
    target = workspace.study.limits.target_tokens
    if workspace.study.proxies.repeat_as_target is False:
        target = None
    found = {name: workspace.study.domains[name].available_tokens or file.tokens for name, file in files.items()}
    if target is None:
        return found
    return {name: max(1, min(tokens, tokens * training_tokens // target)) for name, tokens in found.items()}


def evaluation_specs(
    workspace: Workspace, specs: Iterable[ProxySpec], targets: Mapping[str, TargetFile], evaluation: EvaluationSettings
) -> list[EvaluationSpec]:
    """One evaluation per trained model and target."""
    return [
        EvaluationSpec(
            proxy=spec.output,
            target=name,
            tokens=file,
            evaluation=evaluation,
            reported=spec.trainer is not None,
            folder=workspace.path("evaluations", spec.id),
        )
        for spec in specs
        for name, file in targets.items()
    ]
