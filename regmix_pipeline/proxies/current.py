"""The study's proxies as they should be trained, as they were trained, and what its pilots say about stopping early."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import anchored_mixtures, current_mixtures, sampled_mixtures
from regmix_pipeline.proxies.commands.trainer import trainer_of
from regmix_pipeline.proxies.earlier import finished_proxies
from regmix_pipeline.proxies.early_stopping import (
    FEWEST_PILOTS,
    FinalLossExtrapolation,
    as_trained,
    fit_extrapolation,
    pilot_keys,
    stopped,
    with_landmark,
)
from regmix_pipeline.proxies.renamed import alike, under_former_names
from regmix_pipeline.proxies.reuse import drop_altered
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.tasks import evaluation_specs, proxy_seed, proxy_specs, target_files
from regmix_pipeline.proxies.workers.choose import executor_of

Specs = dict[str, list[ProxySpec]]


def current_specs(workspace: Workspace, mixtures: Mapping[str, Mixture]) -> Specs:
    """Mixture id -> its proxies trained to the end, one per seed; a few have more seeds, for the noise floor."""
    if not mixtures:
        return {}
    proxies = workspace.study.proxies
    several = replicated_mixtures(workspace)
    most = max(proxies.replicates, proxies.noise.seeds)
    seeds = {
        key: [proxy_seed(workspace, replicate) for replicate in range(most if key in several else proxies.replicates)]
        for key in mixtures
    }
    trainer = trainer_of(workspace)
    model, training = proxies.model_settings, proxies.training_settings
    specs = proxy_specs(workspace, mixtures, model, training, seeds, "proxies", trainer=trainer)
    specs = {key: [_as_trained_before(workspace, spec) for spec in group] for key, group in specs.items()}
    early = proxies.early_stopping
    if early is None:
        return specs
    return {key: [with_landmark(spec, early.at) for spec in group] for key, group in specs.items()}


def _as_trained_before(workspace: Workspace, spec: ProxySpec) -> ProxySpec:
    """The proxy itself, or the finished one of the same mixture and seed that was trained before domains were renamed,
    or before their declared revision."""
    early = workspace.study.proxies.early_stopping
    at = None if early is None else early.at
    for former in (spec, *under_former_names(spec, workspace.changes)):
        if as_trained(former, at).is_finished:
            return former
    revised = workspace.revised
    if not revised & {domain for each in spec.phases for domain, _ in each.exact_mixture.parts}:
        return spec
    names, finished = workspace.renamed, finished_proxies(workspace)
    # The newest of several: they are in the order in which they were written.
    former = workspace.once(
        f"before revision {fingerprint(list(finished))}",
        lambda: {alike(old, revised, names): old for old in finished.values()},
    )
    return former.get(alike(spec, revised, names), spec)


def trained_specs(workspace: Workspace, mixtures: Mapping[str, Mixture]) -> Specs:
    """The same as they were trained: stopped early where only that is there."""
    early = workspace.study.proxies.early_stopping
    at = None if early is None else early.at
    return {key: [as_trained(spec, at) for spec in group] for key, group in current_specs(workspace, mixtures).items()}


def replicated_mixtures(workspace: Workspace) -> set[str]:
    """Sampled mixtures that are trained with several seeds: those of the lowest ids, a choice at random that hardly
    moves when mixtures come and go."""
    wanted = workspace.study.proxies.noise.mixtures
    if wanted <= 1:
        return set()
    first: dict[str, str] = {}
    for former, today in workspace.renamed.items():
        first.setdefault(today, former)
    mixtures = current_mixtures(workspace)
    # By the ids under the domains' first names: a rename must choose no others.
    return set(sorted(sampled_mixtures(workspace), key=lambda key: mixtures[key].renamed(first).id)[:wanted])


def pilots(workspace: Workspace) -> list[str]:
    """Mixtures trained to the end before others may stop: anchors, those with several seeds, and sampled ones."""
    early = workspace.study.proxies.early_stopping
    if early is None:
        return []
    mixtures = list(current_mixtures(workspace))
    first = anchored_mixtures(workspace) | replicated_mixtures(workspace)
    return pilot_keys(mixtures, first, early.pilots)


def pilot_extrapolation(workspace: Workspace) -> FinalLossExtrapolation | None:
    """What the pilots' final losses are in the losses that they had where others stop.

    Of every pilot the first seed alone counts: a further one would bring its own shift into the line, and be no other
    mixture. None when a pilot is not finished, was trained without keeping its weights there, or there are too few.
    """
    early = workspace.study.proxies.early_stopping
    if early is None:
        return None
    mixtures = current_mixtures(workspace)
    finals = [
        group[0] for group in current_specs(workspace, {key: mixtures[key] for key in pilots(workspace)}).values()
    ]
    stops = [stopped(spec, early.at) for spec in finals]
    if len(finals) < FEWEST_PILOTS or not all(spec.is_finished for spec in [*finals, *stops]):
        return None
    targets = target_files(workspace)
    losses: dict[tuple[str, str], float] = {}
    tasks = evaluation_specs(workspace, [*finals, *stops], targets, workspace.study.proxies.evaluation)
    drop_altered(workspace, tasks)
    for result in executor_of(workspace).run(tasks):
        if result.error is not None:
            raise result.error
        losses[result.value["proxy"], result.value["target"]] = result.value["loss"]
    at_stop, final = (
        np.array([[losses[spec.id, name] for name in targets] for spec in specs]) for specs in (stops, finals)
    )
    return fit_extrapolation(list(targets), at_stop, final)
