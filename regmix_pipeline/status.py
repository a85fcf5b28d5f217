"""Where a study stands: what is stale and why, and what training it takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from regmix_pipeline.documents.stage import DOCUMENTS, stale_by_listing
from regmix_pipeline.engine.reasons import Reason
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.current import current_specs
from regmix_pipeline.proxies.phase_checkpoints import phase_specs
from regmix_pipeline.proxies.size_runs import chosen_mixtures, has_sizes, size_specs
from regmix_pipeline.study.phases import proxy_tokens, settled


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Attributes:
        stale: stage name -> key -> why it has to be made; stages that are up to date are left out.
        blocked: stage name -> what it waits for: an upstream stage that was never made, or a source out of reach.
    """

    stale: Mapping[str, Mapping[str, Reason]]
    blocked: Mapping[str, str]

    def of(self, *stages: Stage) -> str:
        """What is not up to date among ``stages``, in words; "" when all are."""
        return "; ".join(
            f"{stage.name} waits: {self.blocked[stage.name]}"
            if stage.name in self.blocked
            else f"{stage.name}: {in_words(self.stale[stage.name])}"
            for stage in stages
            if stage.name in self.blocked or stage.name in self.stale
        )


def study_status(workspace: Workspace, *stages: Stage) -> StudyStatus:
    """What is stale among ``stages`` by the study's own fingerprints. Reads records, and no text."""
    stale, blocked = {}, {}
    for stage in stages:
        try:
            found = stale_by_listing(workspace) if stage is DOCUMENTS else workspace.stale(stage)
        except RegmixError as error:
            blocked[stage.name] = f"{error.where} {error.problem}".strip()
            continue
        if found:
            stale[stage.name] = found
    return StudyStatus(stale, blocked)


def in_words(stale: Mapping[str, Reason | str], shown: int = 3) -> str:
    """``books, poems (new); code (changed: documents/code)``, at most ``shown`` keys for each reason."""
    keys: dict[str, list[str]] = {}
    for key, reason in stale.items():
        keys.setdefault(str(reason), []).append(key)
    parts = []
    for reason, names in list(keys.items())[:shown]:
        more = f" and {len(names) - shown} more" if len(names) > shown else ""
        parts.append(reason if names == ["all"] else f"{', '.join(names[:shown])}{more} ({reason})")
    return "; ".join(parts) + (f"; {len(keys) - shown} more reasons" if len(keys) > shown else "")


@dataclass(frozen=True)
class TrainingCost:
    """What training the proxies of some mixtures takes: proxies that are not there yet, and the tokens they draw."""

    proxies: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.proxies} prox{'y' if self.proxies == 1 else 'ies'} to train, {self.tokens:,} tokens"


def training_cost(workspace: Workspace, keys: Collection[str]) -> TrainingCost:
    """What training the proxies of the mixtures ``keys`` to their end takes; those on disk already cost nothing."""
    mixtures = {key: mixture for key, mixture in current_mixtures(workspace).items() if key in keys}
    missing = [spec for group in current_specs(workspace, mixtures).values() for spec in group if not spec.is_finished]
    return TrainingCost(len(missing), sum(spec.training.tokens for spec in missing))


def phases_cost(workspace: Workspace) -> TrainingCost:
    """What training the model takes that all proxies go on from; nothing where it is there, or there is none."""
    missing = [spec for spec in phase_specs(workspace) if not spec.is_finished]
    return TrainingCost(len(missing), sum(spec.training.tokens for spec in missing))


def larger_proxies_cost(workspace: Workspace) -> TrainingCost:
    """What training the study's larger proxies takes; nothing while rounds are to come, or where there are none.

    Raises:
        LedgerError: the proxies' losses were not measured.
    """
    if not has_sizes(workspace):
        return TrainingCost(0, 0)
    groups = size_specs(workspace, chosen_mixtures(workspace))
    specs = {each.id: each for group in groups for own in group.values() for spec in own for each in spec.phases}
    missing = [spec for spec in specs.values() if not spec.is_finished]
    return TrainingCost(len(missing), sum(spec.training.tokens for spec in missing))


def confirmation_tokens(workspace: Workspace) -> int:
    """Tokens that the confirmation's models take: three mixtures, a model per seed, after earlier phases."""
    study = workspace.study
    if study.confirmation is None:
        return 0
    tokens = study.confirmation.training_settings.tokens
    earlier = sum(proxy_tokens(study, phase, tokens) for phase in settled(study))
    return earlier + 3 * study.confirmation.seeds * tokens
