"""Proxies trained in earlier days of the study, read in today's terms: what was paid for is not thrown away."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import fingerprint, read_json
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.commands.trainer import trainer_of
from regmix_pipeline.proxies.finished import observed_proxies
from regmix_pipeline.proxies.renamed import alike
from regmix_pipeline.proxies.spec import ProxySpec, TargetFile
from regmix_pipeline.proxies.tasks import (
    available_windows,
    proxy_seed,
    start_of_proxies,
    target_files,
    training_files,
    vocabulary_of,
)
from regmix_pipeline.study.changes import Reading, read_today
from regmix_pipeline.study.coordinates import domain_of
from regmix_pipeline.study.phases import goes_on, phase_parts
from regmix_pipeline.tokens.stage import current_manifest


@dataclass(frozen=True)
class EarlierRun:
    """A proxy trained for other domains than today's.

    Attributes:
        spec: as it was trained.
        reading: its mixture in today's terms, or why it is not evidence.
    """

    spec: ProxySpec
    reading: Reading

    @property
    def mixture(self) -> Mixture:
        """Its mixture in today's terms."""
        return Mixture.from_weights(self.reading.weights)


def finished_proxies(workspace: Workspace) -> dict[str, ProxySpec]:
    """Id -> spec of every observed proxy that was trained to its end as today's are, but for data, oldest first."""
    observed = observed_proxies(workspace)
    return workspace.once(f"finished proxies {fingerprint(observed)}", lambda: _trained_alike(workspace, observed))


def _trained_alike(workspace: Workspace, observed: Sequence[str]) -> dict[str, ProxySpec]:
    if not observed:
        return {}
    proxies, folder, found = workspace.study.proxies, workspace.path("proxies"), {}
    seeds = {proxy_seed(workspace, replicate) for replicate in range(max(proxies.replicates, proxies.noise.seeds))}
    model, training, vocabulary = proxies.model_settings, proxies.training_settings, vocabulary_of(workspace)
    trainer, together = trainer_of(workspace), tuple(phase_parts(workspace.study).items())
    start = start_of_proxies(workspace) if goes_on(workspace.study) else None
    written = {path: path.stat().st_mtime_ns for name in observed if (path := folder / name / "proxy.json").is_file()}
    for path in sorted(written, key=lambda path: (written[path], path)):
        try:
            spec = ProxySpec.model_validate(read_json(path)["spec"])
        except (ValueError, KeyError, TypeError, OSError):
            continue  # of other code, or damaged: no evidence
        spec = spec.model_copy(update={"folder": folder})
        if trainer is None:
            as_today = (spec.model, spec.training, spec.vocabulary, spec.stop_at) == (model, training, vocabulary, None)
        else:
            as_today = spec.training.tokens == training.tokens
        as_today = as_today and _in_common(workspace, spec.start) == _in_common(workspace, start)
        same = (spec.trainer and spec.trainer.identity) == (trainer and trainer.identity)
        same = same and spec.phases_together == together
        if as_today and same and spec.seed in seeds and spec.id == path.parent.name:
            found[spec.id] = spec
    return found


def _in_common(workspace: Workspace, start: ProxySpec | None) -> str:
    """What the models of earlier phases have in common whose proxies compare; "" where there is none."""
    return "" if start is None else alike(start, workspace.revised, workspace.renamed)


def runs_of_other_domains(workspace: Workspace) -> list[EarlierRun]:
    """Every finished proxy whose domains are not today's, sorted by id; those of today's are mixtures of today."""
    # What was renamed is still what it was.
    changed = {name for change in workspace.changes if change.rename is None for name in change.gone}
    return [
        _read(workspace, spec)
        for _, spec in sorted(finished_proxies(workspace).items())
        if not _drawn(workspace, spec) <= set(workspace.coordinates) or set(spec.exact_mixture.weights) & changed
    ]


def runs_besides(workspace: Workspace, current: Collection[str]) -> list[EarlierRun]:
    """Every finished proxy but those with the ids ``current``, sorted by id: of other domains, former anchors, mixtures
    that a cap has ruled out since."""
    return [_read(workspace, spec) for name, spec in sorted(finished_proxies(workspace).items()) if name not in current]


def _drawn(workspace: Workspace, spec: ProxySpec) -> set[str]:
    """Domains that a run drew on, called as they are today."""
    names = workspace.renamed
    return {names.get(domain, domain) for domain, _ in spec.exact_mixture.parts}


def _read(workspace: Workspace, spec: ProxySpec) -> EarlierRun:
    problem = _not_comparable(workspace, spec)
    weights = spec.exact_mixture.weights
    reading = read_today(weights, workspace.changes, workspace.coordinates, workspace.study.evidence_tolerance)
    return EarlierRun(spec, Reading(weights, reading.rules, problem) if problem else reading)


def _not_comparable(workspace: Workspace, spec: ProxySpec) -> str:
    """Why a run is not evidence whatever became of its domains: other tokens, or documents that changed since."""
    if spec.phases_together and not _drawn(workspace, spec) <= set(workspace.coordinates):
        return "of phases that are chosen at once, runs of other domains are not read"
    tokenizer = current_manifest(workspace, workspace.domains[0]).tokenizer
    if spec.trainer is not None and _measured(spec.targets) != _measured(target_files(workspace)):
        return "its command measured other targets, or other text of theirs"
    names, revised = workspace.renamed, workspace.revised
    for former in sorted(spec.exact_mixture.weights):
        former = domain_of(former)
        name, version = names.get(former, former), spec.shards[former].version
        if _tokenizer_of(workspace, former, version) != tokenizer:
            return f"{name} was tokenised otherwise"
        current = workspace.records.current("token_shards", name)
        if name in workspace.domains and name not in revised and (current is None or current.version != version):
            return f"documents of {name} changed since, and no `revise: {name}` says that their nature did not"
        repeated = spec.available_windows.get(former) != _windows(workspace, spec).get(name)
        if name in workspace.domains and name not in revised and repeated:
            return f"{name} was repeated otherwise than today"
    return ""


def _measured(targets: Mapping[str, TargetFile]) -> dict[str, str]:
    """Target -> version of what is measured on it."""
    return {name: file.measure_version for name, file in targets.items()}


def _tokenizer_of(workspace: Workspace, name: str, version: str) -> str | None:
    """Version of the tokenizer that made a shard, None where no record states; looked up once, as many runs share
    it."""

    def look() -> str | None:
        record = workspace.records.version("token_shards", name, version)
        return None if record is None else record.inputs.get("tokenizer/all")

    return workspace.once(f"tokenizer of {name} {version}", look)


def _windows(workspace: Workspace, spec: ProxySpec) -> dict[str, int]:
    """Domain -> windows that a proxy may see today; see `tasks.available_windows`."""
    tokens, context = spec.training.tokens, spec.model.context
    return workspace.once("windows", lambda: available_windows(workspace, training_files(workspace), tokens, context))


def usable_runs(workspace: Workspace) -> list[EarlierRun]:
    """Runs of other domains that are evidence today."""
    return [run for run in runs_of_other_domains(workspace) if not run.reading.refused]


def former_domains(workspace: Workspace) -> list[str]:
    """Domains that the study no longer has and that are coordinates of earlier runs' mixtures, sorted."""
    return sorted({name for run in usable_runs(workspace) for name in run.reading.weights} - set(workspace.coordinates))
