"""What is measured, and how much of it the search minimises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from regmix_pipeline.proxies.target_kinds import TARGET_KINDS
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.documents import Source

if TYPE_CHECKING:
    TargetKind = str
else:
    TargetKind = TARGET_KINDS.name_type()


class Target(Settings):
    """A validation set whose loss is measured; with a weight, the search minimises it."""

    source: Source | None = None
    """Its own text, outside the domains. Default: the validation split of the domain of the same name, or, where the
    domains have no sources, the column of that name in the imported losses. `{task: items.jsonl}`: items of a task
    instead of text, of which the loss of the right continuation given its prompt is measured."""
    weight: float = Field(default=1.0, ge=0)
    """Share in the objective, relative to the other targets, or to the other members of its family. 0: measured and
    reported only."""
    kind: TargetKind = "text"
    """What is measured on its windows: `text`, the mean loss of all tokens, or `package.module:function`, your own.
    Tasks have no windows: leave it out."""


class Family(Settings):
    """Targets that count together: their macro average, by their own weights, has the family's weight."""

    targets: tuple[str, ...] = Field(min_length=1)
    """Names of its targets. A target is in one family at most."""
    weight: float = Field(default=1.0, ge=0)
    """Share in the objective, relative to the other families and to the targets outside families. 0: measured and
    reported only."""

    @field_validator("targets")
    @classmethod
    def _distinct(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(targets)) != len(targets):
            raise ValueError("a target is listed twice in the family")
        return targets


def check_families(families: Mapping[str, Family], targets: Mapping[str, Target], more: bool) -> None:
    """Raise ValueError where families and targets do not fit; ``more``: watched folders add targets later."""
    clash = sorted(set(families) & set(targets))
    if clash:
        raise ValueError(f"families.{clash[0]}: a target has this name; choose another")
    for name, family in families.items():
        unknown = [each for each in family.targets if each not in targets]
        if unknown and not more:
            raise ValueError(f"families.{name}: {unknown[0]!r} is not a target; name one of {', '.join(targets)}")
    counts = Counter(each for family in families.values() for each in family.targets)
    twice = [each for each, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"families: {twice[0]!r} is in two families; leave it in one")


def shares_within(family: Family, targets: Mapping[str, Target]) -> dict[str, float]:
    """Member of a family -> its share of the family's macro average, summing to 1; empty where none has a weight.

    >>> targets = {"arc": Target(), "piqa": Target(weight=3), "law": Target(weight=0)}
    >>> shares_within(Family(targets=("arc", "piqa", "law")), targets)
    {'arc': 0.25, 'piqa': 0.75, 'law': 0.0}
    """
    weights = {name: targets[name].weight for name in family.targets if name in targets}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else {}


def objective_of(targets: Mapping[str, Target], families: Mapping[str, Family]) -> dict[str, float]:
    """Target -> share of the objective, in the targets' order and summing to 1; those without a share are left out.

    >>> targets = {"books": Target(), "arc": Target(), "piqa": Target()}
    >>> objective_of(targets, {"reasoning": Family(targets=("arc", "piqa"))})
    {'books': 0.5, 'arc': 0.25, 'piqa': 0.25}
    """
    weights = {name: target.weight for name, target in targets.items()}
    for family in families.values():
        shares = shares_within(family, targets)
        weights |= {name: family.weight * shares.get(name, 0.0) for name in family.targets if name in targets}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight} if total else {}
