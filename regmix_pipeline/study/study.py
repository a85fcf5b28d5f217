"""The study file: one YAML that says which domains, which targets, which proxies and which limits.

Everything a decision depends on is in this file or in the data it points to. Sections are in `study/settings/`; this
module puts them together and checks them against each other, `study/file.py` reads the YAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from regmix_pipeline.study.changes import Change
from regmix_pipeline.study.phases import check_phases, with_target_tokens
from regmix_pipeline.study.repetition import misplaced
from regmix_pipeline.study.settings.base import Settings, inside
from regmix_pipeline.study.settings.catalogue import CatalogueSettings
from regmix_pipeline.study.settings.documents import Source, check_name
from regmix_pipeline.study.settings.imports import ImportedTables
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.study.settings.phases import Phase
from regmix_pipeline.study.settings.proxies import (
    EarlyStoppingSettings,
    EvaluationSettings,
    ModelAndTraining,
    NoiseSettings,
)
from regmix_pipeline.study.settings.refit import Refit
from regmix_pipeline.study.settings.regression import RegressionSettings
from regmix_pipeline.study.settings.search import SearchSettings
from regmix_pipeline.study.settings.strategies import StrategySettings
from regmix_pipeline.study.settings.targets import Family, Target, check_families, objective_of
from regmix_pipeline.study.settings.tokens import ShardSettings, TextCheckSettings, TokenizerSettings
from regmix_pipeline.study.settings.tracking import TrackingSettings
from regmix_pipeline.study.settings.trainer import TrainerSettings
from regmix_pipeline.study.settings.watch import WatchSettings
from regmix_pipeline.study.settings.workers import EngineSettings


class Domain(Settings):
    """A domain of training text."""

    source: Source | None = None
    """Where its documents come from. None, for all domains alike: nothing is trained, only imported runs are used."""
    cap: float | None = Field(default=None, ge=0, le=1)
    """Highest weight in any mixture; the tokens available may lower it further. 0, in a study with phases: of earlier
    phases alone."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Lowest weight in the chosen mixture."""
    available_tokens: int | None = Field(default=None, gt=0)
    """Tokens the large run could draw, when the shards here are only a sample of them. Default: the shards' own."""
    max_epochs: float | None = Field(default=None, gt=0)
    """How often the large run may see the same token of this domain. Default: its group's (`search.groups`), else
    `limits.max_epochs`. It limits the search; proxies that were trained stay evidence."""
    max_epochs_reason: str | None = Field(default=None, min_length=1)
    """Why, in a sentence that the decision repeats."""
    prior: float | None = Field(default=None, gt=0)
    """Relative natural weight, for domains without a source whose tokens are not known either."""


class LimitSettings(Settings):
    """What the large run can use."""

    target_tokens: int | None = Field(default=None, gt=0)
    """Length of the large run in tokens. None: no availability caps. With `phases` it is the last one's tokens, and is
    left out."""
    max_epochs: float = Field(default=4.0, gt=0)
    """How often the large run may see the same token (Muennighoff et al. 2305.16264: up to 4 is nearly free), of
    domains that say nothing else."""
    max_epochs_reason: str | None = Field(default=None, min_length=1)
    """Why, in a sentence that the decision repeats."""
    target_parameters: int | None = Field(default=None, gt=0)
    """All parameters of the large run's model. Where runs of a second size are known, their law predicts at this size;
    see `proxies.sizes`. None: mixtures are judged at the proxies' size."""

    def recipe(self) -> dict[str, Any]:
        """What results follow from, JSON-able: no reason, and no size where none is stated, so that what stays the same
        keeps its recipe."""
        unstated = {"target_parameters"} if self.target_parameters is None else set()
        return self.model_dump(mode="json", exclude={"max_epochs_reason"} | unstated)


class ProxySize(ModelAndTraining):
    """A larger size at which some of the mixtures are trained again, to learn what moves with size."""

    preset: str = "regmix-60m"
    """Model and its default training, as of `proxies.preset`."""
    mixtures: int = Field(default=12, ge=8, le=10_000)
    """How many of the proxies' mixtures: the natural one, the best three, and a spread over all others. With n of them
    at c times a proxy's compute they cost as much as n x c proxies; most of the budget belongs to the proxies."""


class Proxies(ModelAndTraining):
    """The small models that are trained on the mixtures."""

    preset: str = "regmix-1m"
    """Model and its default training: regmix-1m, regmix-60m, tinyllama-1b, demo, demo-large."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Fields of the preset's model to change."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Fields of the preset's training to change, for instance `tokens`."""
    vocabulary: int | None = Field(default=None, gt=1, le=1 << 24)
    """Rows of the embedding, when padded beyond the tokenizer's. Default: the tokenizer's."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How losses are measured."""
    replicates: int = Field(default=1, ge=1, le=1_000)
    """Seeds per mixture."""
    noise: NoiseSettings = NoiseSettings()
    """Further seeds of a few mixtures, which give every target's noise floor."""
    early_stopping: EarlyStoppingSettings | None = None
    """Stop proxies whose final losses follow from the losses they have. None: all are trained to the end."""
    sizes: tuple[ProxySize, ...] = Field(default=(), max_length=2)
    """One or two larger sizes of proxies. Needs limits.target_parameters. Default: none."""
    repeat_as_target: bool | None = None
    """Let a proxy repeat each domain as often as the large run would, as published work finds necessary (arXiv
    2606.07597). Needs limits.target_tokens. Default: yes where the study states them."""
    trainer: TrainerSettings | None = None
    """A command of your own that trains the proxies. None: this package trains them."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that train at once. Default: one per CPU core; of a trainer's commands one per GPU, or one, and 100
    jobs on Slurm."""
    engine: EngineSettings = EngineSettings()
    """Where proxies are trained: this machine or a cluster."""

    @property
    def slack(self) -> float:
        """Tokens by which a domain's executed tokens may miss its weight in what was executed of all."""
        if self.trainer is not None:
            # A domain's tokens and their sum may each miss what was asked for.
            return 2 * self.trainer.tolerance * self.training_settings.tokens + 1
        return self.training_settings.slack(self.model_settings.context)

    @property
    def tokens_per_mixture(self) -> int:
        """Tokens that all proxies of a mixture are trained on."""
        return self.replicates * self.training_settings.tokens


class Confirmation(ModelAndTraining):
    """Larger models trained on the chosen, natural and uniform mixture, to see whether the prediction held."""

    seeds: int = Field(default=2, ge=1, le=1_000)
    """Models per mixture."""


class Study(Settings):
    """One question: which mixture of these domains is best for these targets?"""

    name: str
    """Short name, used in paths: lower-case letters, digits, underscores."""
    description: str = ""
    """One sentence for the report."""
    seed: int = Field(default=42, ge=0)
    """Seed of every random choice in the study."""
    domains: dict[str, Domain] = Field(min_length=2)
    """Name -> domain of training text."""
    watch: WatchSettings | None = None
    """An address whose folders are domains as well. None: the domains above are all."""
    targets: dict[str, Target] = Field(min_length=1)
    """Name -> validation target. A name that is also a domain means that domain's validation split."""
    families: dict[str, Family] = Field(default_factory=dict)
    """Name -> targets that count together, by their macro average."""
    imports: tuple[ImportedTables, ...] = ()
    """Tables of runs trained elsewhere, used beside or instead of the study's own proxies."""
    imported_size: int | None = Field(default=None, gt=0)
    """Parameters of the imported runs that are fitted, where they have several model sizes: losses of two sizes do not
    compare. Runs of the other sizes show how far rankings carry over. Default: the size of the study's own proxies, or,
    where it trains none, the one that most runs have."""
    tokenizer: TokenizerSettings | None = None
    """An existing tokenizer.json, or one to train. Needed unless only imported runs are used."""
    shards: ShardSettings = ShardSettings()
    """How documents become training and validation tokens."""
    text_checks: TextCheckSettings = TextCheckSettings()
    """How much of the targets' text may be trained on, and how much text the tokenizer may lose."""
    mixtures: MixtureSettings = MixtureSettings()
    """How mixtures are sampled."""
    proxies: Proxies = Proxies()
    """The proxy models."""
    regression: RegressionSettings = RegressionSettings()
    """The regressors and how one is chosen."""
    phases: tuple[Phase, ...] = ()
    """Phases of the large run in order, where it has two or three. The mixture of the last is chosen; those before are
    settled, and proxies go on from a model that was trained through them. None: the run has one phase."""
    limits: LimitSettings = LimitSettings()
    """Tokens and repetition of the large run."""
    search: SearchSettings = SearchSettings()
    """How the best mixture is searched."""
    alternatives: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Name -> weights by domain of a mixture to compare the decision with, made by hand or by another method."""
    rank_correlation_floor: float = Field(default=0.5, ge=-1, le=1)
    """The regressor's out-of-fold Spearman correlation on the objective must reach this, or the decision is flagged."""
    confirmation: Confirmation | None = None
    """Larger models that test the decision. None: no confirmation."""
    strategies: StrategySettings | None = None
    """Ways of choosing a mixture, compared by the large runs that they lead to. None: no comparison."""
    changes: tuple[Change, ...] = ()
    """What became of domains, in the order in which it happened: which runs of earlier days stay evidence."""
    evidence_tolerance: float = Field(default=0.02, ge=0, lt=1)
    """Weight of a withdrawn domain that may be left out of an earlier run, or by which it may miss a merge's shares."""
    refit: Refit = Refit()
    """How the study follows its domains while the Dagster UI runs."""
    tracking: TrackingSettings = TrackingSettings()
    """Experiment trackers that proxies are sent to."""
    catalogue: CatalogueSettings = CatalogueSettings()
    """What Dagster's catalogue says of the assets."""

    @model_validator(mode="before")
    @classmethod
    def _tokens_of_the_last_phase(cls, raw: Any) -> Any:
        return with_target_tokens(raw)

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        _check_names(self)
        if OBJECTIVE in self.targets:
            problem = "every table has the targets' weighted mean under this name; choose another"
            raise inside(("targets", OBJECTIVE), problem)
        for name, target in self.targets.items():
            if target.source is None and name not in self.domains and self.trains:
                raise ValueError(f"target {name!r} is not a domain, so it needs a source of its own")
            if target.source is not None and name in self.domains:
                raise ValueError(f"target {name!r} has the name of a domain and a source; rename it or drop the source")
        _check_targets(self)
        for number, change in enumerate(self.changes):
            later = {name for after in self.changes[number + 1 :] for name in after.gone}
            back, missing = change.gone & set(self.domains), change.made - set(self.domains) - later
            missing = set() if self.watch is not None else missing
            if back or missing:
                what = f"{sorted(back)} are still domains" if back else f"{sorted(missing)} are not domains"
                raise ValueError(f"changes.{number} ({change.operation}): {what} of the study")
        _check_alternatives(self)
        if self.trains:
            _check_trains(self)
        else:
            _check_only_imports(self)
        _check_sizes(self)
        if not self.objective:
            raise ValueError("no target has a weight above 0, so there is nothing to minimise")
        if self.watch is not None and not self.trains:
            raise ValueError("watch needs domains with sources: a study of imported runs alone trains on no text")
        if self.strategies is not None:
            _check_strategies(self, self.strategies)
        _check_trainer(self)
        for place, problem in misplaced(self):
            raise inside(place, problem)
        _check_larger_proxies(self)
        check_phases(self)
        if self.proxies.repeat_as_target and self.limits.target_tokens is None:
            raise ValueError("proxies.repeat_as_target needs limits.target_tokens")
        return self

    @property
    def trains(self) -> bool:
        """Whether the study has text of its own to train proxies on; otherwise it is based on imported runs alone."""
        return any(domain.source is not None for domain in self.domains.values())

    @property
    def sources(self) -> dict[str, tuple[Literal["domain", "target"], Source]]:
        """Every source of documents by name: the domains, then the targets outside them."""
        domains = {name: ("domain", domain.source) for name, domain in self.domains.items() if domain.source}
        targets = {name: ("target", target.source) for name, target in self.targets.items() if target.source}
        return domains | targets  # pyright: ignore[reportReturnType]

    @property
    def tasks(self) -> list[str]:
        """Targets that are tasks."""
        return [name for name, each in self.targets.items() if each.source is not None and each.source.is_task]

    @property
    def flag_error_below(self) -> float | None:
        """Standard errors over items or windows that a target's losses have to spread over; None: not looked at."""
        noise = self.proxies.noise
        if noise.flag_error_below is not None:
            return noise.flag_error_below
        return FEW_ITEMS if self.tasks or noise.weight_by_signal else None

    @property
    def objective(self) -> dict[str, float]:
        """Target -> share of the objective, summing to 1; targets of weight 0 are left out."""
        return objective_of(self.targets, self.families)


FEW_ITEMS = 0.5
"""Spread of a target's losses over mixtures, in standard errors over items, below which its items are too few."""
OBJECTIVE = "objective"
"""The name of the targets' weighted mean in every table."""
NAMED = ("chosen", "natural", "uniform", "best_observed", "previous", OBJECTIVE)
"""Names that a decision gives to mixtures of its own."""


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
