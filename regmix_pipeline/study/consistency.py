"""Whether the sections of a study file go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from regmix_pipeline.study.phases import check_phases
from regmix_pipeline.study.repetition import misplaced
from regmix_pipeline.study.settings.base import inside
from regmix_pipeline.study.settings.documents import Source, check_name
from regmix_pipeline.study.settings.strategies import StrategySettings
from regmix_pipeline.study.settings.targets import check_families
from regmix_pipeline.study.settings.tokens import TokenizerSettings

if TYPE_CHECKING:
    from regmix_pipeline.study.study import Study

OBJECTIVE = "objective"
"""The name of the targets' weighted mean in every table."""
NAMED = ("chosen", "natural", "uniform", "best_observed", "previous", OBJECTIVE)
"""Names that a decision gives to mixtures of its own."""


def check_consistent(study: Study) -> None:
    """Check the sections against each other.

    Raises:
        ValueError: two do not go together; names the field where one alone is to blame.
    """
    _check_names(study)
    if OBJECTIVE in study.targets:
        problem = "every table has the targets' weighted mean under this name; choose another"
        raise inside(("targets", OBJECTIVE), problem)
    for name, target in study.targets.items():
        if target.source is None and name not in study.domains and study.trains:
            raise ValueError(f"target {name!r} is not a domain, so it needs a source of its own")
        if target.source is not None and name in study.domains:
            raise ValueError(f"target {name!r} has the name of a domain and a source; rename it or drop the source")
    _check_targets(study)
    for number, change in enumerate(study.changes):
        later = {name for after in study.changes[number + 1 :] for name in after.gone}
        back, missing = change.gone & set(study.domains), change.made - set(study.domains) - later
        missing = set() if study.watch is not None else missing
        if back or missing:
            what = f"{sorted(back)} are still domains" if back else f"{sorted(missing)} are not domains"
            raise ValueError(f"changes.{number} ({change.operation}): {what} of the study")
    _check_alternatives(study)
    if study.trains:
        _check_trains(study)
    else:
        _check_only_imports(study)
    _check_sizes(study)
    if not study.objective:
        raise ValueError("no target has a weight above 0, so there is nothing to minimise")
    if study.watch is not None and not study.trains:
        raise ValueError("watch needs domains with sources: a study of imported runs alone trains on no text")
    if study.strategies is not None:
        _check_strategies(study, study.strategies)
    _check_trainer(study)
    for place, problem in misplaced(study):
        raise inside(place, problem)
    _check_larger_proxies(study)
    check_phases(study)
    if study.proxies.repeat_as_target and study.limits.target_tokens is None:
        raise ValueError("proxies.repeat_as_target needs limits.target_tokens")


def _check_names(study: Study) -> None:
    parts = ("domains", "targets", "families")
    places = [("name",), *((part, name) for part in parts for name in getattr(study, part))]
    for place in places:
        try:
            check_name(study.name if place == ("name",) else place[-1])
        except ValueError as error:
            raise inside(place, str(error)) from None


def _check_targets(study: Study) -> None:
    """Families and guardrails name targets; items of a task are no training text."""
    watched = study.watch is not None
    for name, domain in study.domains.items():
        if domain.source is not None and domain.source.is_task:
            raise inside(("domains", name, "source"), "items of a task can only be a target's; give documents")
    if study.watch is not None and study.watch.source.is_task:
        raise inside(("watch", "source"), "items of a task can only be a target's; give documents")
    for name, target in study.targets.items():
        if target.source is not None and target.source.is_task and target.kind != "text":
            raise inside(("targets", name, "kind"), "of a task bits per byte are measured; leave kind out")
    check_families(study.families, study.targets, watched)
    if OBJECTIVE in study.families:
        raise inside(("families", OBJECTIVE), "every table has the targets' weighted mean under this name")
    for number, guardrail in enumerate(study.search.guardrails):
        unknown = [name for name in guardrail.targets if name not in study.targets]
        if unknown and not watched:
            what = "a domain, and not a target" if unknown[0] in study.domains else "not a target"
            raise inside(
                ("search", "guardrails", number),
                f"{unknown[0]!r} is {what}: its loss is not measured; add it to targets, with weight 0 if it is not to "
                "be minimised",
            )


def _check_alternatives(study: Study) -> None:
    for name, weights in study.alternatives.items():
        check_name(name)
        total = sum(weights.values())
        if name in NAMED:
            raise ValueError(f"alternatives.{name}: every decision has a mixture of that name; choose another")
        if any(not weight >= 0 for weight in weights.values()) or not 0.98 <= total <= 1.02:
            raise ValueError(
                f"alternatives.{name}: weights must not be negative and sum to 1 (they sum to {total:.4f}); "
                "they are shares, not percent"
            )
        unknown = sorted(set(weights) - set(study.domains))
        if unknown and study.watch is None:
            raise ValueError(f"alternatives.{name}: {unknown} are not domains of the study")


def _check_trainer(study: Study) -> None:
    """A trainer of the user's own, beside settings that are about this package's."""
    proxies, trainer = study.proxies, study.proxies.trainer
    if trainer is None:
        if proxies.engine.kind == "slurm":
            problem = (
                "slurm runs the commands of proxies.trainer; this package's own proxies are trained there by "
                "`regmix train --slice` in an array job"
            )
            raise inside(("proxies", "engine", "kind"), problem)
        return
    if not study.trains:
        raise inside(("proxies", "trainer"), "a trainer needs domains with sources, whose tokens are counted")
    if proxies.early_stopping is not None:
        raise inside(
            ("proxies", "early_stopping"), "only this package's own proxies stop early; drop it or the trainer"
        )
    if study.strategies is not None:
        raise inside(("strategies",), "strategies train this package's own models; drop the section or the trainer")
    if proxies.engine.kind == "ray" or proxies.engine.store is not None:
        field = "kind" if proxies.engine.kind == "ray" else "store"
        raise inside(
            ("proxies", "engine", field), "a trainer's commands run on this machine or on Slurm, on a shared disk"
        )


def _check_strategies(study: Study, strategies: StrategySettings) -> None:
    if not study.trains:
        raise ValueError("strategies train models: give the domains sources, or drop the section")
    if strategies.target is None and study.confirmation is None:
        raise ValueError("strategies.target says which model is trained; it may be left out beside a confirmation only")
    if strategies.human is not None and strategies.human not in study.alternatives:
        raise ValueError(f"strategies.human: {strategies.human!r} is not one of the alternatives of the study")


def _check_trains(study: Study) -> None:
    bare = [name for name, domain in study.domains.items() if domain.source is None]
    if bare:
        raise ValueError(f"domain {bare[0]!r} has no source while others have one: give it one, or none to any")
    if study.tokenizer is None:
        raise ValueError(
            "a study with sources needs a tokenizer: {file: tokenizer.json} or {train: {vocab_size: 8192}}"
        )
    for role, name, source in _sources(study):
        _check_tokens(source, study.tokenizer, role, name)


def _sources(study: Study) -> Iterator[tuple[str, str, Source]]:
    """Where a source stands in the file, its name, and the source; that of watched folders as well."""
    for name, (role, source) in study.sources.items():
        yield f"{role}s", name, source
    if study.watch is not None:
        yield "watch", "", study.watch.source


def _check_tokens(source: Source, tokenizer: TokenizerSettings, role: str, name: str) -> None:
    """Tokens are of use with the tokenizer alone that made them."""
    if source.tokens is None:
        return
    place = tuple(part for part in (role, name, "source", "tokens", "tokenizer") if part)
    if tokenizer.train is not None:
        problem = (
            "these tokens were made by a tokenizer, and the study trains another: give the study "
            f"{{hub: {source.tokens.tokenizer}}}, or {{file: ..., name: {source.tokens.tokenizer}}}"
        )
        raise inside(place, problem)
    if source.tokens.tokenizer not in tokenizer.names:
        problem = (
            f"these tokens were made by {source.tokens.tokenizer}, and the study's tokenizer is "
            f"{' or '.join(tokenizer.names)}: give the study the same, or say tokenizer.name if it is"
        )
        raise inside(place, problem)


def _check_sizes(study: Study) -> None:
    """Model sizes are stated of all imported runs or of none: what is not stated could not be told apart."""
    stated = [pair.parameters is not None or pair.columns.parameters is not None for pair in study.imports]
    if any(stated) and not all(stated):
        raise inside(
            ("imports", stated.index(False)),
            "others of the imports state the models' parameters; state these runs' too, by parameters or "
            "columns.parameters",
        )
    if study.imported_size is not None and not any(stated):
        raise ValueError("imported_size chooses among model sizes, and no import states one: give it parameters")


def _check_larger_proxies(study: Study) -> None:
    """Proxies of further sizes are larger, and the size that they are extrapolated to is stated."""
    proxies, target = study.proxies, study.limits.target_parameters
    if not proxies.sizes:
        return
    if not study.trains:
        raise inside(("proxies", "sizes"), "sizes are trained on text: give the domains sources, or drop it")
    if proxies.trainer is not None:
        problem = "only this package's own proxies have several sizes: the trainer's command says nothing of a size"
        raise inside(("proxies", "sizes"), problem)
    if target is None:
        raise inside(("proxies", "sizes"), "say which size they are extrapolated to: limits.target_parameters")
    least = proxies.model_settings.non_embedding_parameters()
    for number, size in enumerate(proxies.sizes):
        parameters = size.model_settings.non_embedding_parameters()
        if parameters <= least:
            problem = (
                f"{parameters:,} parameters outside the embedding are no more than the {least:,} of the size before: "
                "list larger models, the smallest first"
            )
            raise inside(("proxies", "sizes", number, "model"), problem)
        if target < parameters:
            problem = (
                f"{target:,} parameters of the large run are fewer than the {parameters:,} of proxies.sizes.{number}"
            )
            raise inside(("limits", "target_parameters"), problem)
        least = parameters


def _check_only_imports(study: Study) -> None:
    """A study whose domains have no sources is based on runs trained elsewhere."""
    sourced = [name for name, target in study.targets.items() if target.source is not None]
    if sourced:
        raise ValueError(f"target {sourced[0]!r} has a source, but no domain has one, so nothing could be trained")
    if study.confirmation is not None:
        raise ValueError("a confirmation needs text to train on: give the domains sources, or drop it")
    known = [
        name for name, domain in study.domains.items() if (domain.available_tokens is None) == (domain.prior is None)
    ]
    if known:
        raise ValueError(f"domain {known[0]!r} has no source, so it needs either available_tokens or a prior")
    if any(pair.tokens for pair in study.imports) and any(domain.prior for domain in study.domains.values()):
        raise ValueError("imports.tokens counts epochs, so every domain needs available_tokens instead of a prior")
    if len({domain.prior is None for domain in study.domains.values()}) > 1:
        raise ValueError("give every domain available_tokens, or every domain a prior: the two do not compare")
