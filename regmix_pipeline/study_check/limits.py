"""Whether any mixture respects a study's limits, by the tokens that its text has or may have."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import FULL, Limits, check_limits_of, limits_of
from regmix_pipeline.numbers import amount
from regmix_pipeline.search.region import members_of
from regmix_pipeline.study.phases import phase_parts, settled
from regmix_pipeline.study.repetition import epoch_limits, max_epochs_of
from regmix_pipeline.study.study import Study
from regmix_pipeline.study_check.text import TextHere

LEAST_TARGET = 1000
"""Tokens below which no large run is worth naming as a remedy."""


def check_limits(workspace: Workspace, texts: Mapping[str, TextHere]) -> list[str]:
    """Lines worth knowing of the limits; nothing where all is well.

    Args:
        workspace: the study on disk.
        texts: source -> its text; a domain without is taken for unlimited unless the study states its tokens.

    Raises:
        MixtureError: no mixture respects the limits, by the most tokens that there can be.
    """
    study = workspace.study
    if study.watch is not None and workspace.records.current("domains") is None:
        return []  # further domains are not known yet
    most = _available(study, texts, lambda text: text.most)
    guess = _available(study, texts, lambda text: text.tokens)
    estimated = any(
        name in texts and not texts[name].counted and domain.available_tokens is None
        for name, domain in study.domains.items()
    )
    said = " (estimated from the size of the files)" if estimated else ""
    _check_enough(study, most, guess, said)
    limits, own = limits_of(study, most), limits_of(study, dict.fromkeys(most))
    own.check()
    try:
        check_limits_of(study, limits, most)
    except MixtureError as error:
        raise MixtureError(error.problem + said, where=error.where, remedy=error.remedy) from None
    _check_groups(study, limits)
    caps = limits_of(study, guess).caps
    if caps.sum() < FULL:
        return [
            f"limits: by the estimated tokens the caps sum to {caps.sum():.3g}, below 1, so that no mixture may be "
            f"left: lower {_tokens_field(study)}, raise max_epochs of limits or of domains, or add text"
        ]
    return []


def _available(study: Study, texts: Mapping[str, TextHere], of: Callable[[TextHere], float]) -> dict[str, float]:
    """Domain -> its tokens: as stated, else of its text, else without end."""
    return {
        name: float(domain.available_tokens or (of(texts[name]) if name in texts else math.inf))
        for name, domain in study.domains.items()
    }


def _check_enough(study: Study, most: Mapping[str, float], guess: Mapping[str, float], said: str) -> None:
    """The large run, all its phases together, must not need more tokens than all domains together have."""
    if study.limits.target_tokens is None:
        return
    target = study.limits.target_tokens + sum(phase.tokens for phase in settled(study))
    epochs = list(max_epochs_of(study).values())
    if sum(map(operator.mul, epochs, most.values())) >= target * FULL:
        return
    tokens = max(sum(guess.values()), 1.0)
    drawn = max(sum(map(operator.mul, epochs, guess.values())), 1.0)
    feasible = math.floor(drawn)
    lower = f"lower it to less than {amount(feasible)}, " if feasible >= LEAST_TARGET else ""
    raise MixtureError(
        f"the large run needs {amount(target)} tokens, and all domains together hold {amount(tokens)}{said}: at most "
        f"{_range(epochs)} epochs of them are {amount(drawn)} tokens, so no mixture is feasible",
        where=_tokens_field(study),
        remedy=f"{lower}raise {_where(study)} to {_rounded_up(target / tokens)} or more, add text, or state what the "
        "large run has as available_tokens of the domains",
    )


def _tokens_field(study: Study) -> str:
    """The field that says how many tokens the mixture is for."""
    return f"phases.{len(study.phases) - 1}.tokens" if study.phases else "limits.target_tokens"


def _range(epochs: Sequence[float]) -> str:
    low, high = min(epochs), max(epochs)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _where(study: Study) -> str:
    """The fields whose epochs limit the run."""
    own = sorted({each.field for each in epoch_limits(study).values()} - {"limits.max_epochs"})
    return " and ".join(["limits.max_epochs", *own])


def _rounded_up(number: float) -> str:
    """At least a number, in three significant digits."""
    step = 10.0 ** (math.floor(math.log10(number)) - 2)
    return f"{math.ceil(number / step) * step:.10g}"


def _check_groups(study: Study, limits: Limits) -> None:
    groups = study.search.groups
    if not groups:
        return
    domains, limits = limits.domains, limits.of_phases(phase_parts(study))
    for number, group in enumerate(groups):
        unknown = sorted(set(group.domains) - {*domains, *limits.domains})
        if unknown:
            raise MixtureError(
                f"{', '.join(unknown)}: not a domain of the study",
                where=f"search.groups.{number}",
                remedy=f"name domains of the study: {', '.join(domains)}",
            )
    from scipy.optimize import linprog

    members = np.array([members_of(group, limits.domains) for group in groups])
    upper, lower = np.array([each.cap for each in groups]), np.array([each.floor for each in groups])
    phases, shares = np.ones((1, len(limits.domains))), np.ones(1)
    if limits.together is not None:
        phases, of_domains = limits.together.matrices()
        shares, members = limits.together.shares, np.vstack([members, of_domains])
        upper, lower = np.r_[upper, limits.together.caps], np.r_[lower, limits.together.floors]
    found = linprog(
        np.zeros(len(limits.domains)),
        A_ub=np.vstack([members, -members]),
        b_ub=np.concatenate([upper, -lower]),
        A_eq=phases,
        b_eq=shares,
        bounds=list(zip(limits.floors, limits.caps, strict=True)),
    )
    if found.status == 2:
        raise MixtureError(
            "no mixture respects the groups' limits and the domains' caps and floors together",
            where="search.groups",
            remedy="raise a group's cap, or lower a floor",
        )
