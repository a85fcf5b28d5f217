"""The phases of the large run: which are settled, which are chosen, and what was drawn before these begin."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from regmix_pipeline.study.coordinates import coordinate, domain_of
from regmix_pipeline.study.settings.base import inside
from regmix_pipeline.study.settings.documents import check_name
from regmix_pipeline.study.settings.mixtures import PARTS
from regmix_pipeline.study.settings.phases import Phase

if TYPE_CHECKING:
    from regmix_pipeline.study.study import Study

MOST = 3
"""Phases of a run at most."""
LEAST_SHARE = 0.01
"""Share of the tokens of all chosen phases that each of them has at least: below it a point of weight means nothing."""


def settled(study: Study) -> tuple[Phase, ...]:
    """The phases whose mixtures are given; none where the study states no phases."""
    return study.phases[: len(study.phases) - len(chosen(study))]


def chosen(study: Study) -> tuple[Phase, ...]:
    """The phases whose mixtures the study chooses: the last ones; none where it states no phases."""
    before = itertools.takewhile(lambda phase: phase.mixture is None, reversed(study.phases))
    return tuple(reversed(tuple(before)))


def phase_parts(study: Study) -> dict[str, int]:
    """Phase -> its share of the tokens of all phases that are chosen at once, in parts per million that sum to
    1,000,000; empty where the study chooses one mixture."""
    return parts_of_phases((phase.name, phase.tokens) for phase in chosen(study))


def parts_of_phases(phases: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The same of names and tokens; empty of fewer than two.

    >>> parts_of_phases([("pretraining", 900), ("annealing", 100)]), parts_of_phases([("annealing", 100)])
    ({'pretraining': 900000, 'annealing': 100000}, {})
    """
    listed = list(phases)
    if len(listed) < 2:
        return {}
    total, before, found, ended = sum(tokens for _, tokens in listed), 0, {}, 0
    for name, tokens in listed:
        before += tokens
        # Where a phase ends is rounded, so that the parts of all sum to the whole.
        end = (2 * before * PARTS + total) // (2 * total)
        found[name], ended = end - ended, end
    return found


def tokens_of_caps(study: Study) -> int | None:
    """Tokens by which epochs cap weights: those of the phases that are chosen.

    The share of a phase in them is rounded to a millionth, so that its weights may mean a little more tokens than they
    say; by so much the tokens are raised, and no cap is broken.
    """
    target, parts = study.limits.target_tokens, phase_parts(study)
    if target is None or not parts:
        return target
    return max(target, *(-(-phase.tokens * PARTS // parts[phase.name]) for phase in chosen(study)))


def coordinates(study: Study) -> list[str]:
    """What mixtures have weights of: the domains, or each domain in each of the phases that are chosen at once."""
    return [coordinate(phase, domain) for phase in phase_parts(study) or [""] for domain in study.domains]


def goes_on(study: Study) -> bool:
    """Whether this package's own proxies go on from a model that was trained through the settled phases.

    A trainer's command goes on from a checkpoint of its own, and imported runs were trained elsewhere.
    """
    return bool(settled(study)) and study.trains and study.proxies.trainer is None


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
    """`tokens_drawn` of the settled phases."""
    return tokens_drawn((phase.tokens, shares_of(phase)) for phase in settled(study))


def largest_draw(study: Study, domain: str) -> int:
    """Number of the settled phase that drew most of a domain, from 0."""
    drawn = [shares_of(phase).get(domain, 0.0) * phase.tokens for phase in settled(study)]
    return drawn.index(max(drawn))


def epochs_before(study: Study, available: Mapping[str, float | None]) -> dict[str, float]:
    """Domain -> epochs that the settled phases saw of it, where its tokens are known."""
    drawn = tokens_before(study)
    return {name: drawn[name] / tokens for name, tokens in available.items() if tokens and name in drawn}


def proxy_tokens(study: Study, phase: Phase, tokens: int) -> int:
    """Tokens of a settled phase for models that draw ``tokens`` in those chosen, in the proportion of the proxies'."""
    if phase.proxy_tokens is None:
        return round(phase.tokens * tokens / sum(each.tokens for each in chosen(study)))
    return round(phase.proxy_tokens * tokens / study.proxies.training_settings.tokens)


def with_target_tokens(raw: Any) -> Any:
    """A study file's content, with the tokens of the phases that it chooses as limits.target_tokens.

    Raises:
        PydanticCustomError: the study states other tokens there.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("phases"), list | tuple) or not raw["phases"]:
        return raw
    limits, several = raw.get("limits", {}), [_stated(each, "mixture") is None for each in raw["phases"]]
    number = max(len(list(itertools.takewhile(bool, reversed(several)))), 1)
    tokens = [_stated(each, "tokens") for each in raw["phases"][-number:]]
    if not isinstance(limits, Mapping) or any(type(each) is not int for each in tokens):
        return raw  # what is wrong there is said of its own field
    total = sum(each for each in tokens if each is not None)
    if limits.get("target_tokens", total) != total:
        which = "the last of the phases has" if number == 1 else f"the last {number} of the phases have"
        problem = f"{which} {total:,} tokens, and {'its mixture is' if number == 1 else 'their mixtures are'} what is "
        raise inside(("limits", "target_tokens"), problem + "chosen: leave this out")
    return {**raw, "limits": {**limits, "target_tokens": total}}


def _stated(phase: Any, field: str) -> Any:
    return phase.get(field) if isinstance(phase, Mapping) else getattr(phase, field, None)


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
    if phase_parts(study):
        for place, problem in _not_together(study):
            raise inside(place, problem)


def _wrong(study: Study) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places of mistakes below `phases`, and what is wrong there."""
    seen: set[str] = set()
    for number, phase in enumerate(study.phases):
        try:
            check_name(phase.name)
        except ValueError as error:
            yield (number, "name"), str(error)
        if phase.name in seen:
            yield (number, "name"), f"another phase is called {phase.name!r}"
        seen.add(phase.name)
    if study.phases[-1].mixture is not None:
        yield (
            (len(study.phases) - 1, "mixture"),
            "the mixture of the last phase is what the study chooses: leave it out. To choose an earlier one, make it "
            "the last phase of a study of its own",
        )
        return
    before = len(settled(study))
    for number, phase in enumerate(study.phases[:before]):
        yield from _wrong_mixture(study, number, phase)
        yield from _too_few_tokens(study, number, phase)
    for number, phase in enumerate(study.phases[before:], before):
        if phase.proxy_tokens is not None:
            yield (
                (number, "proxy_tokens"),
                "proxies.training.tokens says it of the phases that are chosen, which keep their proportion: leave it "
                "out",
            )
    parts = phase_parts(study)
    for number, phase in enumerate(study.phases[before:] if parts else (), before):
        if parts[phase.name] < LEAST_SHARE * PARTS:
            yield (
                (number, "tokens"),
                f"{phase.name} has {parts[phase.name] / PARTS:.2%} of the tokens of the phases that are chosen at "
                f"once, and needs {LEAST_SHARE:.0%}: give the phases before it a mixture, so that it is chosen after "
                "them",
            )
        tokens = round(parts[phase.name] / PARTS * study.proxies.training_settings.tokens)
        if study.trains and tokens < (least := _step(study)):
            yield (
                (number, "tokens"),
                f"by the phases' proportion proxies have {tokens:,} tokens of {phase.name}, less than a step of "
                f"{least:,}: raise proxies.training.tokens, or give the phases before it a mixture",
            )


def _not_together(study: Study) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places of what a study cannot do that chooses several phases at once, and the remedy."""
    names = " and ".join(phase_parts(study))
    one = f"give all phases but the last a mixture, so that one is chosen, or {{}}: {names} are chosen at once here"
    if study.imports or not study.trains:
        problem = "imported runs have one mixture, and say nothing of phases; "
        yield ("imports",), problem + one.format("leave the imports out and give the domains sources")
    if study.watch is not None:
        yield ("watch",), "watched folders go with one mixture; " + one.format("list the domains instead")
    if study.changes:
        problem = "changes of domains are read in runs of one mixture; "
        yield ("changes",), problem + one.format("drop this section: runs of other domains are then no evidence")
    if study.proxies.trainer is not None:
        problem = "a trainer's command is given one mixture; "
        yield ("proxies", "trainer"), problem + one.format("let this package train the proxies")
    if study.proxies.early_stopping is not None:
        problem = "a proxy that stops early has not seen its last phase; "
        yield ("proxies", "early_stopping"), problem + one.format("drop this section")
    for number, group in enumerate(study.search.groups):
        if group.max_epochs is not None and any(domain_of(name) != name for name in group.domains):
            problem = "epochs are of all phases together: name the domain alone, or give the group a cap instead"
            yield ("search", "groups", number, "max_epochs"), problem
    if study.proxies.sizes:
        yield ("proxies", "sizes"), "laws of size are of one mixture; " + one.format("drop this section")


def _step(study: Study) -> int:
    return study.proxies.training_settings.windows_per_step * study.proxies.model_settings.context


def _wrong_mixture(study: Study, number: int, phase: Phase) -> Iterator[tuple[tuple[str | int, ...], str]]:
    place = (number, "mixture")
    if phase.mixture is None:
        yield (
            place,
            f"{phase.name} is before a phase whose mixture is given, so its own has to be given: {{domain: share, ...}}"
            ". Phases are chosen at once where they are the last ones",
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
    tokens, least = proxy_tokens(study, phase, study.proxies.training_settings.tokens), _step(study)
    if tokens < least:
        said = "proxy_tokens" if phase.proxy_tokens is not None else "the phases' proportion"
        yield (
            (number, "proxy_tokens"),
            f"by {said} proxies have {tokens:,} tokens of {phase.name}, less than a step of {least:,}: state "
            "proxy_tokens, or raise proxies.training.tokens",
        )
