"""Sensors: domains that come and go, text that changes, training within the study's budget, and what is stale."""

from contextlib import suppress
from typing import Any

import dagster as dg

from regmix_pipeline.assets.asking import ask
from regmix_pipeline.assets.changes import some
from regmix_pipeline.assets.events import ONLY_STALE
from regmix_pipeline.assets.looks import observation
from regmix_pipeline.assets.names import StudyNames, asset_key, names_of
from regmix_pipeline.assets.partitions import RANGE_END, RANGE_START, came_and_gone
from regmix_pipeline.assets.up_to_date import stale_assets
from regmix_pipeline.documents.domains import DOMAINS, scan_watched
from regmix_pipeline.documents.stage import DOCUMENTS, missing_corpora, stale_by_listing
from regmix_pipeline.engine.reasons import Kind
from regmix_pipeline.engine.records import UNPARTITIONED
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import BusyError, LedgerError
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
from regmix_pipeline.mixtures.rounds import next_round
from regmix_pipeline.mixtures.stage import MIXTURES, current_mixtures
from regmix_pipeline.proxies.finished import FINISHED_PROXIES
from regmix_pipeline.proxies.phase_checkpoints import PHASE_CHECKPOINTS
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.search.further import take_round
from regmix_pipeline.stages import DATA, FIT
from regmix_pipeline.status import in_words, larger_proxies_cost, phases_cost, study_status, training_cost

AWAITED = tuple(stage for stage in DATA if stage not in (FINISHED_PROXIES, ADOPTED_MIXTURES))
"""What training waits for. The other two are looked at by whoever asks, and new ones alone make nothing stale."""


def sensors(
    look_seconds: int, names: StudyNames, workspace: WorkspaceResource, *, on: bool = True
) -> list[dg.SensorDefinition]:
    """The four sensors, looking at the world every ``look_seconds``; where ``on``, they run unless somebody stops
    them."""
    running: dict[str, Any] = {
        "minimum_interval_seconds": look_seconds,
        "default_status": dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
    }

    @dg.sensor(name=names.of_location("new_domains"), target=[names.asset_key(DOMAINS)], **running)
    def new_domains(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Register domains that came to the study file or the watched address, and take away those that went."""
        return _domains(context, workspace.open())

    @dg.sensor(name=names.of_location("changed_text"), target=[names.asset_key(DOCUMENTS)], **running)
    def changed_text(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Ask for one observation when names, sizes or times show that some text changed; reads no text itself."""
        return _documents(context, workspace.open())

    @dg.sensor(
        name=names.of_location("proxies_within_budget"),
        target=names.asset_keys([MIXTURES, PHASE_CHECKPOINTS, PROXY_CHECKPOINTS, PROXY_LOSSES]),
        **running,
    )
    def proxies_within_budget(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Train and evaluate stale proxies as long as their tokens are within `refit.max_new_tokens`."""
        return _proxies(context, workspace.open())

    @dg.sensor(name=names.of_location("staleness"), **running)
    def staleness(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Show on every asset, and on each partition, when it is not up to date any more, and when it is again."""
        opened = workspace.open()
        stands, events = stale_assets(context.instance, opened)
        came, gone = _mixtures_to_register(context.instance, opened)
        requests = [names.mixtures.build_add_request(came)] * bool(came)
        requests += [names.mixtures.build_delete_request(gone)] * bool(gone)
        return dg.SensorResult(skip_reason=stands, asset_events=events, dynamic_partitions_requests=requests)

    return [new_domains, changed_text, proxies_within_budget, staleness]


def _domains(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SensorResult:
    seen = scan_watched(workspace)
    try:
        (made,) = workspace.materialise(DOMAINS, wait=False)
    except BusyError:
        if not workspace.stale(DOMAINS):
            return dg.SensorResult(skip_reason="; ".join(["no domain came or went", *seen.lines]))
        return dg.SensorResult(skip_reason="domains came or went; they are registered once the current run has ended")
    assert made.record is not None
    version = made.record.version
    sources = names_of(workspace).sources
    present = context.instance.get_dynamic_partitions(sources.name or "")
    came, went = came_and_gone(context.instance, sources, present, workspace.study.sources)
    requests = [sources.build_add_request(came)] * bool(came) + [sources.build_delete_request(went)] * bool(went)
    said = [f"arrived: {some(came)}"] * bool(came) + [f"removed: {some(went)}"] * bool(went)
    if not requests and version == context.cursor:
        return dg.SensorResult(skip_reason="; ".join(["no domain came or went", *seen.lines]), cursor=version)
    # The list's version is what notifies the inventory of a removed domain: a partition that is gone notifies nobody.
    notes = {"not taken, or not yet": "\n".join(seen.lines)} if seen.lines else {}
    return dg.SensorResult(
        skip_reason="; ".join([*(said or ["the study says something else of its domains"]), *seen.lines]),
        dynamic_partitions_requests=requests,
        asset_events=[observation(workspace, DOMAINS, made, **notes)],
        cursor=version,
    )


def _documents(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SensorResult:
    missing = missing_corpora(workspace)
    if missing:
        return dg.SensorResult(
            skip_reason=f"not fetched yet: {some(missing)}; `regmix run`, or observing documents by hand, fetches them"
        )
    unregistered = set(workspace.study.sources) - set(
        context.instance.get_dynamic_partitions(names_of(workspace).sources.name or "")
    )
    if unregistered:
        return dg.SensorResult(skip_reason=f"{some(sorted(unregistered))}: not registered with Dagster yet")
    stale = stale_by_listing(workspace)
    if not stale:
        return dg.SensorResult(skip_reason=f"no text changed in {len(workspace.study.sources)} sources")
    marks = {name: _mark(workspace, name) for name in stale}
    return ask(context, marks, [asset_key(workspace, DOCUMENTS)], f"documents: {in_words(stale)}")


def _mixtures_to_register(instance: dg.DagsterInstance, workspace: Workspace) -> tuple[list[str], list[str]]:
    """Mixtures that are no partition yet, such as those of a command with a Dagster instance of its own, and partitions
    of mixtures that stayed because a backfill was running when they were withdrawn."""
    mixtures = names_of(workspace).mixtures
    # Read before the list: a mixture that comes in between is not taken for a withdrawn one.
    present = instance.get_dynamic_partitions(mixtures.name or "")
    try:
        return came_and_gone(instance, mixtures, present, current_mixtures(workspace))
    except LedgerError:  # never made, or damaged: its own check says so
        return [], []


def _round(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SensorResult:
    """Ask for the next round once every proxy is up to date: for what proposes it, if the budget holds the round, and
    for its mixtures, whose proxies wait for the budget or a click as all do."""
    following = next_round(workspace)
    if following is None:
        return dg.SensorResult(skip_reason="every proxy is up to date")
    found = study_status(workspace, *FIT)
    if not found.stale and not found.blocked:
        return dg.SensorResult(skip_reason=take_round(workspace, "sensor proxies_within_budget").said)
    tokens = following.size * workspace.study.proxies.tokens_per_mixture + larger_proxies_cost(workspace).tokens
    why = f"round {following.number} of {following.of} is next: {following.size} mixtures, {tokens:,} tokens"
    if found.blocked or tokens > workspace.study.refit.max_new_tokens:
        return dg.SensorResult(
            skip_reason=f"{why}; it waits for further_mixtures: {found.of(*FIT)}; materialise them, or `regmix run`"
        )
    first = next(number for number, stage in enumerate(FIT) if stage.name in found.stale)
    reasons = {name: in_words(stale) for name, stale in found.stale.items()}
    return ask(
        context,
        ["round", following, reasons],
        [asset_key(workspace, stage) for stage in FIT[first:]],
        why,
    )


def _phases(context: dg.SensorEvaluationContext, workspace: Workspace, stale: str) -> dg.SensorResult:
    """Ask for the model that all proxies go on from, if the budget holds it."""
    allowed, training = workspace.study.refit.max_new_tokens, phases_cost(workspace)
    asked = f"earlier phases: {training}; the study's budget (refit.max_new_tokens) is {allowed:,}"
    if training.tokens > allowed:
        return dg.SensorResult(
            skip_reason=f"{asked}, so this waits for a click on {PHASE_CHECKPOINTS.name}. Stale: {stale}"
        )
    recipes = [recipe.id for recipe in PHASE_CHECKPOINTS.expected_recipes(workspace).values()]
    return ask(context, [PHASE_CHECKPOINTS.name, recipes], [asset_key(workspace, PHASE_CHECKPOINTS)], asked)


def _mark(workspace: Workspace, source: str) -> Any:
    """Something that differs whenever the files of a source do."""
    from regmix_pipeline.documents.observe import names_sizes_times

    return names_sizes_times(workspace.study.sources[source][1], workspace.base, workspace.data)


def _proxies(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SensorResult:
    for stage in (FINISHED_PROXIES, ADOPTED_MIXTURES):
        if workspace.stale(stage):
            with suppress(BusyError):  # then a later look sees it
                list(workspace.materialise(stage, wait=False))
    data = study_status(workspace, *AWAITED)
    waiting = data.of(*AWAITED)
    mixtures = data.stale.get(MIXTURES.name, {}).get(UNPARTITIONED)
    if len(data.stale) == 1 and not data.blocked and mixtures and mixtures.kind is Kind.SETTINGS_CHANGED:
        # Conditions see what changes upstream. A change of the study itself, or further mixtures that were asked for,
        # changes nothing upstream.
        recipe = MIXTURES.expected_recipes(workspace)[UNPARTITIONED].id
        return ask(context, [MIXTURES.name, recipe], [asset_key(workspace, MIXTURES)], f"mixtures: {mixtures}")
    if waiting:
        return dg.SensorResult(skip_reason=f"proxies wait for what they are trained on: {waiting}")
    earlier = study_status(workspace, PHASE_CHECKPOINTS).stale.get(PHASE_CHECKPOINTS.name, {})
    if earlier:
        return _phases(context, workspace, in_words(earlier))
    found = study_status(workspace, PROXY_CHECKPOINTS, PROXY_LOSSES)
    # Two runs, one after the other: a step that finds all its partitions reused yields none, and Dagster would skip the
    # step behind it.
    stage = PROXY_CHECKPOINTS if PROXY_CHECKPOINTS.name in found.stale else PROXY_LOSSES
    stale = found.stale.get(stage.name, {})
    if not stale:
        waiting = found.of(PROXY_CHECKPOINTS, PROXY_LOSSES)
        return dg.SensorResult(skip_reason=waiting) if waiting else _round(context, workspace)
    # Measuring trains nothing, so it asks for no budget: a click on proxy_checkpoints is enough for both.
    asked = f"{len(stale)} mixtures' proxies to measure"
    if stage is PROXY_CHECKPOINTS:
        allowed, training = workspace.study.refit.max_new_tokens, training_cost(workspace, stale)
        asked = f"{training}; the study's budget (refit.max_new_tokens) is {allowed:,}"
        if allowed == 0 or training.tokens > allowed:
            return dg.SensorResult(
                skip_reason=f"{asked}, so this waits for a click on {stage.name}. Stale: {in_words(stale)}"
            )
    keys = context.instance.get_dynamic_partitions(names_of(workspace).mixtures.name or "")
    places = sorted(keys.index(key) for key in stale if key in keys)
    if len(places) < len(stale):
        return dg.SensorResult(
            skip_reason=f"{asked}: their mixtures are not registered with Dagster yet; materialise mixtures"
        )
    recipes = {key: recipe.id for key, recipe in stage.expected_recipes(workspace).items() if key in stale}
    return ask(
        context,
        [stage.name, recipes],
        [asset_key(workspace, stage)],
        asked,
        {ONLY_STALE: "yes", RANGE_START: keys[places[0]], RANGE_END: keys[places[-1]]},
    )
