"""The study file: one YAML that says which domains, which targets, which proxies and which limits.

Everything a decision depends on is in this file or in the data it points to. Sections are in `study/settings/`; this
module puts them together, `study/consistency.py` checks them against each other, `study/file.py` reads the YAML.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from regmix_pipeline.study.changes import Change
from regmix_pipeline.study.consistency import check_consistent
from regmix_pipeline.study.phases import phase_parts, with_target_tokens
from regmix_pipeline.study.repetition import MAX_EPOCHS
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.catalogue import CatalogueSettings
from regmix_pipeline.study.settings.documents import Source
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
from regmix_pipeline.study.settings.targets import Family, Target, objective_of
from regmix_pipeline.study.settings.tokens import ShardSettings, TextCheckSettings, TokenizerSettings
from regmix_pipeline.study.settings.tracking import TrackingSettings
from regmix_pipeline.study.settings.trainer import TrainerSettings
from regmix_pipeline.study.settings.watch import WatchSettings
from regmix_pipeline.study.settings.workers import EngineSettings

FEW_ITEMS = 0.5
"""Spread of a target's losses over mixtures, in standard errors over items, below which its items are too few."""


class Domain(Settings):
    """A domain of training text."""

    source: Source | None = None
    """Where its documents come from. None, for all domains alike: nothing is trained, only imported runs are used."""
    cap: float | None = Field(default=None, ge=0, le=1)
    """Highest weight in any mixture; the tokens available may lower it further. 0, in a study with phases: of earlier
    phases alone. Of phases that are chosen at once, of their tokens together; `search.groups` may bound one phase."""
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
    """Length of the large run in tokens. None: no availability caps. With `phases` it is the tokens of those that are
    chosen, and is left out."""
    max_epochs: float = Field(default=MAX_EPOCHS, gt=0)
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
    """Phases of the large run in order, where it has two or three. The last one is chosen, or the last ones at once,
    whose mixtures are left out; those before are settled, and proxies go on from a model that was trained through them.
    None: the run has one phase."""
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
        check_consistent(self)
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
    def slack(self) -> float:
        """Tokens by which a domain's executed tokens may miss its weight: where a phase that is chosen with others
        begins is rounded to a window, so there by a half more."""
        return self.proxies.slack * (1.5 if phase_parts(self) else 1.0)

    @property
    def counts_ngrams(self) -> bool:
        """Whether a regressor of n-gram counts may compete: there is text to count, and one mixture that draws it."""
        return self.trains and self.regression.counts_ngrams and not phase_parts(self)

    @property
    def objective(self) -> dict[str, float]:
        """Target -> share of the objective, summing to 1; targets of weight 0 are left out."""
        return objective_of(self.targets, self.families)
