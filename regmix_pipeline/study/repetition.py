"""How often the large run may see a domain's tokens, and who says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regmix_pipeline.study.settings.search import GroupLimit

if TYPE_CHECKING:
    from regmix_pipeline.study.study import Study

MAX_EPOCHS = 4.0
"""How often a large run may see a token where nothing is said: up to 4 is nearly free (arXiv 2305.16264)."""


@dataclass(frozen=True)
class EpochLimit:
    """A domain's limit.

    Attributes:
        most: how often the large run may see a token of the domain.
        field: of the study file that says so, such as ``search.groups.0.max_epochs``.
        reason: as it is written there; "" where none is.
    """

    most: float
    field: str
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The limit as the decision states it."""
        return {"max_epochs": self.most, "set_by": self.field, "reason": self.reason}


def epoch_limits(study: Study) -> dict[str, EpochLimit]:
    """Domain -> its limit: its own, else the lowest of its groups', else the study's."""
    limits = study.limits
    whole = EpochLimit(limits.max_epochs, "limits.max_epochs", limits.max_epochs_reason or "")
    found = dict.fromkeys(study.domains, whole) | {
        name: limit for name, limit in of_groups(study.search.groups).items() if name in study.domains
    }
    for name, domain in study.domains.items():
        if domain.max_epochs is not None:
            found[name] = EpochLimit(domain.max_epochs, f"domains.{name}.max_epochs", domain.max_epochs_reason or "")
    return found


def of_groups(groups: tuple[GroupLimit, ...], place: str = "search.groups") -> dict[str, EpochLimit]:
    """Domain -> the lowest limit among the groups that name it; domains of no such group are left out.

    >>> of_groups((GroupLimit(domains=("code", "maths"), max_epochs=5),))["maths"].most
    5.0
    """
    found: dict[str, EpochLimit] = {}
    for number, group in enumerate(groups):
        if group.max_epochs is not None:
            limit = EpochLimit(group.max_epochs, f"{place}.{number}.max_epochs", group.max_epochs_reason or "")
            for name in group.domains:
                found[name] = min(found.get(name, limit), limit, key=lambda each: each.most)
    return found


def max_epochs_of(study: Study) -> dict[str, float]:
    """Domain -> how often the large run may see its tokens."""
    return {name: limit.most for name, limit in epoch_limits(study).items()}


def stated(study: Study) -> dict[str, float]:
    """The limits of domains that differ from the study's: what is added to a recipe that has `limits`."""
    return {name: most for name, most in max_epochs_of(study).items() if most != study.limits.max_epochs}


def limits_in_decision(study: Study) -> dict[str, dict[str, Any]]:
    """Domain -> its limit as the decision states it; empty where nothing limits epochs."""
    if study.limits.target_tokens is None:
        return {}
    return {name: limit.as_json() for name, limit in epoch_limits(study).items()}


def own_epochs(record: Mapping[str, Any]) -> dict[str, float]:
    """Domain -> its limit in a decision, of domains whose limit is not the study's `limits.max_epochs`."""
    rows = (record.get("repetition") or {}).items()
    return {name: row["max_epochs"] for name, row in rows if row["set_by"] != "limits.max_epochs"}


def misplaced(study: Study) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places of limits that say nothing, and what is wrong with each."""
    sections: list[tuple[tuple[str | int, ...], Any]] = [
        (("domains", name), domain) for name, domain in study.domains.items()
    ]
    sections += [(("search", "groups", number), group) for number, group in enumerate(study.search.groups)]
    for place, section in sections:
        if section.max_epochs is not None and study.limits.target_tokens is None:
            yield (
                (*place, "max_epochs"),
                "epochs are tokens drawn over tokens available: state limits.target_tokens as well, or remove this",
            )
        if section.max_epochs is None and section.max_epochs_reason is not None:
            yield (*place, "max_epochs_reason"), "there is no max_epochs here that it is the reason of"
