"""The method, left to right: every stage of the asset graph in the order it runs."""

from __future__ import annotations

from regmix_pipeline.decisions.confirmation import CONFIRMATION
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Stage
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.ngrams.stage import NGRAM_MODELS
from regmix_pipeline.proxies.earlier_stage import EARLIER_RUNS
from regmix_pipeline.proxies.finished import FINISHED_PROXIES
from regmix_pipeline.proxies.imports import IMPORTED_RUNS
from regmix_pipeline.proxies.phase_checkpoints import PHASE_CHECKPOINTS
from regmix_pipeline.proxies.size_runs import SIZE_RUNS
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.report.stage import MIXTURE_REPORT
from regmix_pipeline.search.further import FURTHER_MIXTURES
from regmix_pipeline.search.stage import OPTIMAL_MIXTURE
from regmix_pipeline.strategies.stage import STRATEGY_COMPARISON
from regmix_pipeline.tokens.checks_stage import TEXT_CHECKS
from regmix_pipeline.tokens.stage import DOMAIN_INVENTORY, TOKEN_SHARDS, TOKENIZER

STAGES: tuple[Stage, ...] = (
    DOMAINS,
    DOCUMENTS,
    FINISHED_PROXIES,
    ADOPTED_MIXTURES,
    TOKENIZER,
    TOKEN_SHARDS,
    TEXT_CHECKS,
    DOMAIN_INVENTORY,
    MIXTURES,
    PHASE_CHECKPOINTS,
    PROXY_CHECKPOINTS,
    PROXY_LOSSES,
    SIZE_RUNS,
    EARLIER_RUNS,
    IMPORTED_RUNS,
    NGRAM_MODELS,
    REGRESSOR,
    OPTIMAL_MIXTURE,
    FURTHER_MIXTURES,
    MIXTURE_DECISION,
    CONFIRMATION,
    MIXTURE_REPORT,
    STRATEGY_COMPARISON,
)


def up_to(stage: Stage) -> tuple[Stage, ...]:
    """The stages until ``stage``, with it, in the order they run."""
    return STAGES[: STAGES.index(stage) + 1]


def behind(stage: Stage) -> tuple[Stage, ...]:
    """All stages that ``stage`` is made from, directly or not, in the order they run."""
    names = {stage.name}
    for each in reversed(STAGES):
        if each.name in names:
            names |= set(each.upstream)
    return tuple(each for each in STAGES if each.name in names and each is not stage)


def known_to(stage: str) -> set[str]:
    """Names of a stage and of all that it is made from: what a check of it may read."""
    (found,) = (each for each in STAGES if each.name == stage)
    return {stage, *(each.name for each in behind(found))}


FIT = up_to(FURTHER_MIXTURES)[len(up_to(PROXY_LOSSES)) :]
"""What turns losses into the next round's mixtures."""


TO_COMPARE: tuple[Stage, ...] = tuple(stage for stage in STAGES if stage not in (CONFIRMATION, MIXTURE_REPORT))
"""What a comparison of strategies needs and is: nothing is confirmed or reported for it."""


DATA = up_to(MIXTURES)
"""What must be up to date before anything is trained on it. It trains nothing, so it is made whatever the budget."""
