"""The phases of the large run: which are settled, and what they drew of each domain before the last one begins."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from regmix_pipeline.study.settings.base import inside
from regmix_pipeline.study.settings.documents import check_name
from regmix_pipeline.study.settings.phases import Phase

if TYPE_CHECKING:
    from regmix_pipeline.study.study import Study

MOST = 3
"""Phases of a run at most."""


def settled(study: Study) -> tuple[Phase, ...]:
    """The phases before the last, whose mixtures are given; none where the study states no phases."""
    return study.phases[:-1]


def goes_on(study: Study) -> bool:
    """Whether this package's own proxies go on from a model that was trained through the settled phases.

    A trainer's command goes on from a checkpoint of its own, and imported runs were trained elsewhere.
    """
    return bool(study.phases) and study.trains and study.proxies.trainer is None


def shares_of(phase: Phase) -> dict[str, float]:
    """Domain -> share of a settled phase's tokens, summing to 1.

    >>> shares_of(Phase(name="pretraining", tokens=100, mixture={"web": 0.75, "code": 0.24}))["web"]
    0.7575757575757576
    """
    mixture = phase.mixture or {}
    total = sum(mixture.values())
    return {name: weight / total for name, weight in mixture.items() if weight > 0}


def tokens_drawn(phases: Iterable[tuple[int, Mapping[str, float]]]) -> dict[str, int]:
    """Domain -> tokens that phases draw of it, each given by its tokens and shares; domains that they do not draw on
    are left out.

    >>> tokens_drawn([(100, {"web": 0.75, "code": 0.25}), (10, {"web": 1.0})])
    {'web': 85, 'code': 25}
    """
    found: dict[str, int] = {}
    for tokens, shares in phases:
        for name, share in shares.items():
            found[name] = found.get(name, 0) + round(share * tokens)
    return found


def tokens_before(study: Study) -> dict[str, int]:
    """`tokens_drawn` of the phases before the last."""
    return tokens_drawn((phase.tokens, shares_of(phase)) for phase in settled(study))


def largest_draw(study: Study, domain: str) -> int:
    """Number of the settled phase that drew most of a domain, from 0."""
    drawn = [shares_of(phase).get(domain, 0.0) * phase.tokens for phase in settled(study)]
    return drawn.index(max(drawn))


def epochs_before(study: Study, available: Mapping[str, float | None]) -> dict[str, float]:
    """Domain -> epochs that the phases before the last saw of it, where its tokens are known."""
    drawn = tokens_before(study)
    return {name: drawn[name] / tokens for name, tokens in available.items() if tokens and name in drawn}


def proxy_tokens(study: Study, phase: Phase, tokens: int) -> int:
    """Tokens of a settled phase for models that draw ``tokens`` in the last, in the proportion of the proxies'."""
    if phase.proxy_tokens is None:
        return round(phase.tokens * tokens / study.phases[-1].tokens)
    return round(phase.proxy_tokens * tokens / study.proxies.training_settings.tokens)


def phases_in_decision(study: Study) -> dict[str, Any]:
    """The phases as the decision states them; nothing where the study has none."""
    if not study.phases:
        return {}
    rows = [
        {"name": phase.name, "tokens": phase.tokens, "mixture": None if phase.mixture is None else shares_of(phase)}
        for phase in study.phases
    ]
    return {"phases": rows}


def with_target_tokens(raw: Any) -> Any:
    """A study file's content, with the tokens of its last phase as limits.target_tokens: what is searched is that
    phase's mixture.

    Raises:
        PydanticCustomError: the study states other tokens there.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("phases"), list | tuple) or not raw["phases"]:
        return raw
    last, limits = raw["phases"][-1], raw.get("limits", {})
    tokens = last.get("tokens") if isinstance(last, Mapping) else getattr(last, "tokens", None)
    if not isinstance(limits, Mapping) or type(tokens) is not int:
        return raw  # what is wrong there is said of its own field
    if limits.get("target_tokens", tokens) != tokens:
        problem = f"the last of the phases has {tokens:,} tokens, and its mixture is what is chosen: leave this out"
        raise inside(("limits", "target_tokens"), problem)
    return {**raw, "limits": {**limits, "target_tokens": tokens}}


def check_phases(study: Study) -> None:
    """Raise where the phases are no schedule, or go with nothing else that the study asks for."""
    for name, domain in study.domains.items():
        if domain.cap == 0 and not study.phases:
            problem = "no mixture could hold any of it: remove the domain, or give it a cap above 0"
            raise inside(("domains", name, "cap"), problem)
    if not study.phases:
        return
    if not 2 <= len(study.phases) <= MOST:
        problem = f"a run has two or three phases, and {len(study.phases)} are stated; of one phase state "
        raise inside(("phases",), problem + "limits.target_tokens alone")
    if study.strategies is not None:
        raise inside(("strategies",), "strategies are compared on runs of one phase; drop this section or the phases")
    for place, problem in _wrong(study):
        raise inside(("phases", *place), problem)


def _wrong(study: Study) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places of mistakes below `phases`, and what is wrong there."""
    seen: set[str] = set()
    *before, last = study.phases
    for number, phase in enumerate(study.phases):
        try:
            check_name(phase.name)
        except ValueError as error:
            yield (number, "name"), str(error)
        if phase.name in seen:
            yield (number, "name"), f"another phase is called {phase.name!r}"
        seen.add(phase.name)
    for number, phase in enumerate(before):
        yield from _wrong_mixture(study, number, phase)
        yield from _too_few_tokens(study, number, phase)
    place = len(before)
    if last.mixture is not None:
        yield (
            (place, "mixture"),
            "the mixture of the last phase is what the study chooses: leave it out. To choose an earlier one, make it "
            "the last phase of a study of its own",
        )
    if last.proxy_tokens is not None:
        yield (place, "proxy_tokens"), "proxies.training.tokens says it of the last phase: leave it out"


def _wrong_mixture(study: Study, number: int, phase: Phase) -> Iterator[tuple[tuple[str | int, ...], str]]:
    place = (number, "mixture")
    if phase.mixture is None:
        yield (
            place,
            f"{phase.name} is before the last phase, so its mixture has to be given: {{domain: share, ...}}. To choose "
            "it, make it the last phase of a study of its own",
        )
        return
    total = sum(phase.mixture.values())
    if any(not weight >= 0 for weight in phase.mixture.values()) or not 0.98 <= total <= 1.02:
        yield (
            place,
            f"weights must not be negative and sum to 1 (they sum to {total:.4f}); they are shares, not percent",
        )
    unknown = [name for name in phase.mixture if name not in study.domains]
    if unknown and study.watch is None:
        near = difflib.get_close_matches(unknown[0], study.domains, n=1)
        remedy = f"did you mean {near[0]}?" if near else "list it among the domains."
        yield (
            (*place, unknown[0]),
            f"{unknown[0]!r} is not a domain of the study: {remedy} A domain of earlier phases alone has cap: 0",
        )


def _too_few_tokens(study: Study, number: int, phase: Phase) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Whether the proxies' share of a settled phase is less than a step."""
    if not goes_on(study):
        return
    training, context = study.proxies.training_settings, study.proxies.model_settings.context
    tokens = proxy_tokens(study, phase, training.tokens)
    least = training.windows_per_step * context
    if tokens < least:
        said = "proxy_tokens" if phase.proxy_tokens is not None else "the phases' proportion"
        yield (
            (number, "proxy_tokens"),
            f"by {said} proxies have {tokens:,} tokens of {phase.name}, less than a step of {least:,}: state "
            "proxy_tokens, or raise proxies.training.tokens",
        )
