"""The forecast: every stage that `regmix run` would make again, with its keys and the tokens it would train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from regmix_pipeline.checks import targets_not_trained_on, tokenizer_covers
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.documents.stage import missing_corpora
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import LedgerError, RegmixError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.rounds import has_pilots, next_round
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.planning.forecast.estimates import (
    confirmation_to_train,
    documents_seen,
    expected_shards,
    expected_tokenizer,
    sizes_to_train,
    to_train,
)
from regmix_pipeline.planning.forecast.scratch import ScratchWorkspace, scratch_workspace
from regmix_pipeline.proxies.current import current_specs, trained_specs
from regmix_pipeline.proxies.phase_checkpoints import PHASE_CHECKPOINTS, phase_specs, phases_version
from regmix_pipeline.proxies.size_runs import SIZE_RUNS
from regmix_pipeline.proxies.stage import checkpoint_version, losses_version
from regmix_pipeline.search.further import FURTHER_MIXTURES
from regmix_pipeline.stages import STAGES
from regmix_pipeline.tokens.checks_stage import TEXT_CHECKS
from regmix_pipeline.tokens.stage import current_shard

MADE_HERE = ("domains", "domain_inventory", "finished_proxies", "adopted_mixtures", "mixtures", "imported_runs")
"""Stages that cost next to nothing: they are made in the scratch workspace, so that what follows is known exactly."""
_VERSIONS = {
    "text_checks": "text checks",
    "ngram_models": "n-gram models",
    "earlier_runs": "earlier runs",
    "size_runs": "size runs",
    "regressor": "regressor",
    "optimal_mixture": "optimal mixture",
    "further_mixtures": "further mixtures",
    "confirmation": "confirmation",
    "mixture_report": "report",
    "strategy_comparison": "strategy comparison",
}
"""Stage -> the word that its version is a fingerprint of, together with its recipe."""


@dataclass
class StageForecast:
    """What would become of one stage.

    Attributes:
        stage: its name.
        made: keys that are made now.
        wanted: keys that the study has now; 0 where that is not known.
        stale: key -> why it would be made, for all that would.
        restored: keys among them that were made from the same recipe before: they are made current again, at no cost.
        withdrawn: keys that would no longer be listed.
        models: models that would be trained.
        tokens: tokens that they would be trained on, or that would be made of text.
        at_most: whether the stale keys are an upper bound; `Forecast.guesses` say why.
        tokens_at_most: whether models and tokens are.
        problem: why the stage cannot be made, or is not known; "" otherwise.
    """

    stage: str
    made: int
    wanted: int = 0
    stale: dict[str, str] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    models: int = 0
    tokens: int = 0
    at_most: bool = False
    tokens_at_most: bool = False
    problem: str = ""


class LaterRounds(NamedTuple):
    """Rounds whose mixtures are chosen once those before are measured.

    Attributes:
        rounds: how many.
        mixtures: of all of them.
        models: that are trained for them.
        tokens: that these are trained on.
        at_most: whether n-gram counts may end the rounds before.
    """

    rounds: int = 0
    mixtures: int = 0
    models: int = 0
    tokens: int = 0
    at_most: bool = False


@dataclass(frozen=True)
class Forecast:
    """What `regmix run` would do.

    Attributes:
        stages: every stage, in order.
        to_fetch: built-in corpora that would be downloaded.
        guesses: what cannot be known before it is made, in words: later numbers are upper bounds.
        suggestions: what would cost less, in words.
        later_rounds: what the rounds take that come after the mixtures listed by now.
        flags: what the last text checks found that a decision is flagged for, each with its remedy.
    """

    stages: tuple[StageForecast, ...]
    to_fetch: tuple[str, ...]
    guesses: tuple[str, ...]
    suggestions: tuple[str, ...]
    later_rounds: LaterRounds
    flags: tuple[str, ...] = ()

    def of(self, stage: str) -> StageForecast:
        """The forecast of a stage."""
        return next(each for each in self.stages if each.stage == stage)

    @property
    def training_tokens(self) -> int:
        """Tokens that all models would be trained on: proxies, confirmation and comparison."""
        return sum(each.tokens for each in self.stages if each.stage != "token_shards") + self.later_rounds.tokens

    @property
    def at_most(self) -> bool:
        """Whether the tokens are an upper bound."""
        return self.later_rounds.at_most or any(each.tokens_at_most for each in self.stages if each.models)


def forecast_of(workspace: Workspace) -> Forecast:
    """Look ahead at `regmix run`. Starts nothing, fetches nothing, and writes nothing into the home.

    Domains, inventory and mixtures are really made, in a scratch home; what is dear is followed by its recipes alone.
    Works without a home, without text that was fetched, and where a stage cannot be made: the rest is then unknown.
    """
    with scratch_workspace(workspace) as scratch:
        return replace(_Walk(scratch, workspace.home).forecast(), flags=tuple(_text_flags(workspace)))


def _text_flags(workspace: Workspace) -> Iterator[str]:
    """One line on overlaps of targets and training text, one on what the tokenizer loses; none where all is well, or
    where the text was not checked yet."""
    if not workspace.study.trains or workspace.records.current(TEXT_CHECKS.name) is None:
        return
    limits = workspace.study.text_checks
    try:
        with workspace.tables("text_overlap", "tokenizer_coverage") as connection:
            overlap, coverage = targets_not_trained_on(connection, limits), tokenizer_covers(connection, limits)
    except LedgerError:  # damaged: the stage's own line says so
        return
    for found, remedy in (
        (overlap, "take this text out of one of them, or raise text_checks.flag_overlap or flag_runs"),
        (coverage, "give a tokenizer that knows this text, or raise text_checks.flag_lost"),
    ):
        if not found.passed:
            yield f"{some_of(found.description.split('; '))}; remedy: {remedy}"


def some_of(reasons: Sequence[str], shown: int = 4) -> str:
    """The first reasons, and how many more there are."""
    more = f" and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return "; ".join(reasons[:shown]) + more


class _Walk:
    """One walk through the stages."""

    def __init__(self, workspace: ScratchWorkspace, home: Path) -> None:
        self.workspace, self.home = workspace, home
        self.guesses: list[str] = []
        self.unknown = False
        """Whether it is unknown which keys are stale from here on."""
        self.listed: set[str] = set()
        """Mixtures listed now; none where they cannot be read."""
        with suppress(LedgerError):
            self.listed = set(current_mixtures(workspace))
        self.shards: dict[str, Path] = {}
        for name in workspace.records.keys("token_shards"):
            with suppress(LedgerError):
                self.shards[name] = current_shard(workspace, name)

    def forecast(self) -> Forecast:
        workspace, rows = self.workspace, []
        documents = {name: workspace.records.current("documents", name) for name in workspace.records.keys("documents")}
        suggestions: list[str] = []
        for stage in STAGES:
            rows.append(self._row(stage))
            if stage.name == "documents" and not rows[-1].problem:
                before = {name: record.version for name, record in documents.items() if record is not None}
                suggestions = _renames(workspace, before)
        later = _later_rounds(workspace)
        if later.at_most:
            self.guesses.append("n-gram counts may end the rounds early")
        return Forecast(tuple(rows), tuple(missing_corpora(workspace)), tuple(self.guesses), tuple(suggestions), later)

    def _row(self, stage: Stage) -> StageForecast:
        workspace = self.workspace
        row = StageForecast(stage.name, len(workspace.records.keys(stage.name)))
        try:
            wanted = self._expected_recipes(stage)
            row.wanted = len(wanted)
            row.stale = {key: self._shown_reason(str(reason)) for key, reason in workspace.stale(stage, wanted).items()}
            row.withdrawn = workspace.withdrawn(stage, wanted)
            for key in row.withdrawn:
                workspace.records.forget(stage.name, key)
            stale = {key: wanted[key] for key in row.stale}
            kept = workspace.restorable(stage, stale)
            row.restored = sorted(kept)
            workspace.records.save(*kept.values())
            self._follow(stage, row, {key: recipe for key, recipe in stale.items() if key not in kept})
        except RegmixError as error:
            row.problem = self._shown_reason(
                str(error) if not isinstance(error, LedgerError) else f"{error.where}: {error.problem}"
            )
            for key in workspace.records.keys(stage.name):
                workspace.records.forget(stage.name, key)
        row.at_most = self.unknown and bool(row.stale)
        row.tokens_at_most = row.tokens_at_most or row.at_most
        return row

    def _shown_reason(self, said: str) -> str:
        """What the scratch workspace said, with the home's own place in it."""
        return said.replace(str(self.workspace.home), str(self.home))

    def _expected_recipes(self, stage: Stage) -> dict[str, Recipe]:
        if stage.name != "documents":
            return stage.expected_recipes(self.workspace)
        recipes, guessed = documents_seen(self.workspace)
        self.guesses += [f"{name}: {why}" for name, why in guessed.items()]
        self.unknown = bool(guessed)
        return recipes

    def _follow(self, stage: Stage, row: StageForecast, recipes: Mapping[str, Recipe]) -> None:
        """Make the keys here if that costs nothing, else suppose that they are made."""
        workspace = self.workspace
        if not recipes:
            return
        if stage.name in MADE_HERE:
            workspace.compute(stage, recipes)
            if stage.name == "mixtures" and self.guesses and set(current_mixtures(workspace)) != self.listed:
                self.unknown = True
        elif stage.name == "documents":
            for key, recipe in recipes.items():
                workspace.suppose(stage, key, recipe, recipe.settings["content"])
        elif stage.name == "tokenizer":
            if not expected_tokenizer(workspace, recipes):
                trained = workspace.study.tokenizer is not None and workspace.study.tokenizer.train is not None
                self.guesses.append(f"the tokenizer is not {'trained' if trained else 'fetched'} yet")
                self.unknown = True
        elif stage.name == "token_shards":
            guessed = expected_shards(workspace, recipes, self.shards)
            row.tokens = sum(guessed.values())
            self.guesses += [f"{name} is not tokenised yet" for name in guessed]
        elif stage.name == PHASE_CHECKPOINTS.name:
            specs = phase_specs(workspace)
            missing = to_train(specs)
            row.models, row.tokens = len(missing), sum(spec.training.tokens for spec in missing)
            for key, recipe in recipes.items():
                workspace.suppose(stage, key, recipe, phases_version(specs))
        elif stage.name in ("proxy_checkpoints", "proxy_losses"):
            self._proxies(stage, row, recipes)
        else:
            self._rest(stage, row, recipes)

    def _proxies(self, stage: Stage, row: StageForecast, recipes: Mapping[str, Recipe]) -> None:
        workspace = self.workspace
        mixtures = {key: mixture for key, mixture in current_mixtures(workspace).items() if key in recipes}
        if stage.name == "proxy_losses":
            for key, recipe in recipes.items():
                workspace.suppose(stage, key, recipe, losses_version(key, recipe))
            return
        specs = trained_specs(workspace, mixtures)
        missing = to_train([spec for group in specs.values() for spec in group])
        row.models, row.tokens = len(missing), sum(spec.training.tokens for spec in missing)
        if missing and workspace.study.proxies.early_stopping is not None:
            self.guesses.append("proxies may be stopped early")
            row.tokens_at_most = True
        full = current_specs(workspace, mixtures) if missing else specs
        for key, recipe in recipes.items():
            workspace.suppose(stage, key, recipe, checkpoint_version(key, specs[key] if key in specs else full[key]))

    def _rest(self, stage: Stage, row: StageForecast, recipes: Mapping[str, Recipe]) -> None:
        workspace = self.workspace
        if stage.name == "confirmation":
            row.models, row.tokens, known = confirmation_to_train(workspace)
            if row.models and not known:
                self.guesses.append("the decision is not taken yet, and its mixture may be trained already")
                row.tokens_at_most = True
        elif stage.name == SIZE_RUNS.name:
            row.models, row.tokens, known = sizes_to_train(workspace)
            if row.models and not known:
                self.guesses.append("which mixtures are trained at a larger size follows from the proxies' losses")
                row.tokens_at_most = True
        elif stage.name == "strategy_comparison":
            row.models, row.tokens = _compared(workspace)
            self.guesses.append("strategies may share models, and choose fewer than they may")
            row.tokens_at_most = True
        for key, recipe in recipes.items():
            # The same evidence leads back to the same record, even where the stage is made again.
            kept = workspace.records.made_from(stage.name, key, recipe.id)
            if stage is MIXTURE_DECISION and kept:
                workspace.records.save(kept[-1])
            else:
                word = _VERSIONS.get(stage.name, stage.name)
                workspace.suppose(stage, key, recipe, fingerprint(word, recipe.id))


def _later_rounds(workspace: Workspace) -> LaterRounds:
    """What the rounds after the mixtures listed by now take; nothing where that is not known."""
    try:
        following = next_round(workspace)
    except LedgerError:
        return LaterRounds()
    if following is None or _ended(workspace):
        return LaterRounds()
    proxies = workspace.study.proxies
    return LaterRounds(
        following.of - following.number + 1,
        following.left,
        following.left * proxies.replicates,
        following.left * proxies.tokens_per_mixture,
        following.of > 2 and has_pilots(workspace.study),
    )


def _ended(workspace: Workspace) -> bool:
    """Whether the study's rounds ended before its count of mixtures was spent."""
    try:
        return not workspace.stale(FURTHER_MIXTURES) and bool(workspace.json(FURTHER_MIXTURES.name)["ended"])
    except LedgerError:
        return False


def _compared(workspace: Workspace) -> tuple[int, int]:
    """Models and tokens that a comparison of strategies trains at most."""
    from regmix_pipeline.planning.work import Comparison, works_of

    works = [work for work in works_of(workspace.study, workspace.base) if isinstance(work.what, Comparison)]
    return sum(work.models for work in works), sum(work.models * work.tokens for work in works)


def _renames(workspace: Workspace, before: Mapping[str, str]) -> list[str]:
    """Domains that came with the very documents of one that went: whoever renamed them may say so."""
    gone = {version: name for name, version in before.items() if name not in workspace.study.sources}
    found = []
    for name in workspace.domains:
        version = workspace.need("documents", name).version if name in workspace.study.sources else ""
        if name not in before and version in gone and gone[version] not in workspace.renamed:
            say = f"changes: [{{rename: {gone[version]}, to: {name}}}]"
            found.append(
                f"{name} has the documents of {gone[version]}, which is gone: with `{say}` nothing is retrained"
            )
    return found
