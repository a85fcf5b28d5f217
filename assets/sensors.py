"""Sensors: domains that come and go, text that changes, training within the study's budget, and what is stale."""

from contextlib import suppress
from typing import Any

import dagster as dg

from assets.asking import ask
from assets.changes import some
from assets.events import ONLY_STALE
from assets.looks import observation
from assets.names import StudyNames, asset_key, names_of
from assets.partitions import RANGE_END, RANGE_START, backfill_going
from assets.up_to_date import stale_assets
from regmix_pipeline.documents.domains import DOMAINS, look_around
from regmix_pipeline.documents.stage import DOCUMENTS, missing_corpora, stale_at_a_glance
from regmix_pipeline.errors import BusyError
from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger.reasons import Kind
from regmix_pipeline.ledger.records import WHOLE
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
from regmix_pipeline.mixtures.stage import MIXTURES, current_mixtures
from regmix_pipeline.proxies.finished import FINISHED_PROXIES
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.refit import in_words, standing, training_asked
from regmix_pipeline.tokens.stage import DOMAIN_INVENTORY, TOKEN_SHARDS, TOKENIZER
from resources.lab import LabResource

DATA = (DOMAINS, DOCUMENTS, TOKENIZER, TOKEN_SHARDS, DOMAIN_INVENTORY, MIXTURES)
"""What must be up to date before anything is trained on it."""


def sensors(look_seconds: int, names: StudyNames) -> list[dg.SensorDefinition]:
    """The four sensors, looking at the world every ``look_seconds``; they run unless somebody stops them."""
    running: dict[str, Any] = {
        "minimum_interval_seconds": look_seconds,
        "default_status": dg.DefaultSensorStatus.RUNNING,
    }

    @dg.sensor(target=[names.asset_key(DOMAINS)], **running)
    def new_domains(context: dg.SensorEvaluationContext, lab: LabResource) -> dg.SensorResult:
        """Register domains that came to the study file or the watched address, and take away those that went."""
        return _domains(context, lab.open())

    @dg.sensor(target=[names.asset_key(DOCUMENTS)], **running)
    def changed_text(context: dg.SensorEvaluationContext, lab: LabResource) -> dg.SensorResult:
        """Ask for one observation when names, sizes or times show that some text changed; reads no text itself."""
        return _documents(context, lab.open())

    @dg.sensor(target=names.asset_keys([MIXTURES, PROXY_CHECKPOINTS, PROXY_LOSSES]), **running)
    def proxies_within_budget(context: dg.SensorEvaluationContext, lab: LabResource) -> dg.SensorResult:
        """Train and evaluate stale proxies as long as their tokens are within `refit.max_new_tokens`."""
        return _proxies(context, lab.open())

    @dg.sensor(**running)
    def staleness(context: dg.SensorEvaluationContext, lab: LabResource) -> dg.SensorResult:
        """Show on every asset, and on each partition, when it is not up to date any more, and when it is again."""
        opened = lab.open()
        stands, events = stale_assets(context.instance, opened)
        gone = _withdrawn_mixtures(context.instance, opened)
        requests = [names.mixtures.build_delete_request(gone)] if gone else []
        return dg.SensorResult(skip_reason=stands, asset_events=events, dynamic_partitions_requests=requests)

    return [new_domains, changed_text, proxies_within_budget, staleness]


def _domains(context: dg.SensorEvaluationContext, lab: Lab) -> dg.SensorResult:
    seen = look_around(lab)
    try:
        (made,) = lab.materialise(DOMAINS, wait=False)
    except BusyError:
        if not lab.stale(DOMAINS):
            return dg.SensorResult(skip_reason="; ".join(["no domain came or went", *seen.lines]))
        return dg.SensorResult(skip_reason="domains came or went; they are registered once the run at work has ended")
    assert made.record is not None
    version = made.record.version
    sources = names_of(lab).sources
    present = context.instance.get_dynamic_partitions(sources.name or "")
    came = [name for name in lab.study.sources if name not in present]
    went = [name for name in present if name not in lab.study.sources]
    if went and backfill_going(context.instance, names_of(lab).study):
        went = []
    requests = [sources.build_add_request(came)] * bool(came) + [sources.build_delete_request(went)] * bool(went)
    said = [f"arrived: {some(came)}"] * bool(came) + [f"went: {some(went)}"] * bool(went)
    if not requests and version == context.cursor:
        return dg.SensorResult(skip_reason="; ".join(["no domain came or went", *seen.lines]), cursor=version)
    # The list's version is what tells the inventory of a domain that went: a partition that is gone tells nobody.
    notes = {"not taken, or not yet": "\n".join(seen.lines)} if seen.lines else {}
    return dg.SensorResult(
        skip_reason="; ".join([*(said or ["the study says something else of its domains"]), *seen.lines]),
        dynamic_partitions_requests=requests,
        asset_events=[observation(lab, DOMAINS, made, **notes)],
        cursor=version,
    )


def _documents(context: dg.SensorEvaluationContext, lab: Lab) -> dg.SensorResult:
    missing = missing_corpora(lab)
    if missing:
        return dg.SensorResult(
            skip_reason=f"not fetched yet: {some(missing)}; `regmix run`, or observing documents by hand, fetches them"
        )
    unregistered = set(lab.study.sources) - set(
        context.instance.get_dynamic_partitions(names_of(lab).sources.name or "")
    )
    if unregistered:
        return dg.SensorResult(skip_reason=f"{some(sorted(unregistered))}: not registered yet")
    stale = stale_at_a_glance(lab)
    if not stale:
        return dg.SensorResult(skip_reason=f"no text changed in {len(lab.study.sources)} sources")
    marks = {name: _mark(lab, name) for name in stale}
    return ask(context, marks, [asset_key(lab, DOCUMENTS)], f"documents: {in_words(stale)}")


def _withdrawn_mixtures(instance: dg.DagsterInstance, lab: Lab) -> list[str]:
    """Partitions of mixtures that stayed because a backfill was going when they were withdrawn."""
    present = instance.get_dynamic_partitions(names_of(lab).mixtures.name or "")
    if lab.records.current(MIXTURES.name) is None:
        return []
    wanted = current_mixtures(lab)
    gone = [key for key in present if key not in wanted]
    return [] if gone and backfill_going(instance, names_of(lab).study) else gone


def _mark(lab: Lab, source: str) -> Any:
    """Something that differs whenever the files of a source do."""
    from regmix_pipeline.documents.observe import names_sizes_times

    return names_sizes_times(lab.study.sources[source][1], lab.base, lab.data)


def _proxies(context: dg.SensorEvaluationContext, lab: Lab) -> dg.SensorResult:
    for stage in (FINISHED_PROXIES, ADOPTED_MIXTURES):
        if lab.stale(stage):
            with suppress(BusyError):  # then a later look sees it
                list(lab.materialise(stage, wait=False))
    data = standing(lab, *DATA)
    waiting = data.of(*DATA)
    mixtures = data.stale.get(MIXTURES.name, {}).get(WHOLE)
    if len(data.stale) == 1 and not data.blocked and mixtures and mixtures.kind is Kind.SETTINGS_CHANGED:
        # Conditions see what changes upstream. A change of the study itself, or further mixtures that were asked for,
        # changes nothing upstream.
        recipe = MIXTURES.wanted(lab)[WHOLE].id
        return ask(context, [MIXTURES.name, recipe], [asset_key(lab, MIXTURES)], f"mixtures: {mixtures}")
    if waiting:
        return dg.SensorResult(skip_reason=f"proxies wait for what they are trained on: {waiting}")
    found = standing(lab, PROXY_CHECKPOINTS, PROXY_LOSSES)
    # Two runs, one after the other: a step that finds all its partitions reused yields none, and Dagster would skip the
    # step behind it.
    stage = PROXY_CHECKPOINTS if PROXY_CHECKPOINTS.name in found.stale else PROXY_LOSSES
    stale = found.stale.get(stage.name, {})
    if not stale:
        return dg.SensorResult(skip_reason=found.of(PROXY_CHECKPOINTS, PROXY_LOSSES) or "every proxy is up to date")
    # Measuring trains nothing, so it asks for no budget: a click on proxy_checkpoints is enough for both.
    asked = f"{len(stale)} mixtures' proxies to measure"
    if stage is PROXY_CHECKPOINTS:
        allowed, training = lab.study.refit.max_new_tokens, training_asked(lab, stale)
        asked = f"{training}; the study's budget (refit.max_new_tokens) is {allowed:,}"
        if allowed == 0 or training.tokens > allowed:
            return dg.SensorResult(
                skip_reason=f"{asked}, so this waits for a click on {stage.name}. Stale: {in_words(stale)}"
            )
    keys = context.instance.get_dynamic_partitions(names_of(lab).mixtures.name or "")
    places = sorted(keys.index(key) for key in stale if key in keys)
    if len(places) < len(stale):
        return dg.SensorResult(skip_reason=f"{asked}: their mixtures are not registered yet; materialise mixtures")
    recipes = {key: recipe.id for key, recipe in stage.wanted(lab).items() if key in stale}
    return ask(
        context,
        [stage.name, recipes],
        [asset_key(lab, stage)],
        asked,
        {ONLY_STALE: "yes", RANGE_START: keys[places[0]], RANGE_END: keys[places[-1]]},
    )
