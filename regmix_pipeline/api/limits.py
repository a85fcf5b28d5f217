"""What the large run can use, said in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import Limits, availability_caps
from regmix_pipeline.study.repetition import MAX_EPOCHS, of_groups
from regmix_pipeline.study.settings.search import GroupLimit


@dataclass(frozen=True)
class LargeRun:
    """The large run's limits, as a study file states them; domains that are not named have none.

    Attributes:
        caps: domain -> highest weight.
        floors: domain -> lowest weight.
        available_tokens: domain -> tokens that the large run could draw.
        target_tokens: length of the large run in tokens; with the available tokens it caps the weights.
        max_epochs: how often the large run may see a token: one number, or domain -> number, where domains that are
            not named have 4.
        groups: bounds on sums of weights, such as ``{"domains": ["web", "books"], "cap": 0.6}``; ``max_epochs`` of a
            group holds for each of its domains that `max_epochs` does not name.

    >>> LargeRun(available_tokens={"code": 10**9}, target_tokens=10**10, max_epochs=4).limits(("code", "web")).caps
    array([0.4, 1. ])
    >>> more = LargeRun(available_tokens={"code": 10**9}, target_tokens=10**10, max_epochs={"code": 6})
    >>> more.limits(("code", "web")).caps
    array([0.6, 1. ])
    """

    caps: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    available_tokens: Mapping[str, float] = field(default_factory=dict)
    target_tokens: float | None = None
    max_epochs: float | Mapping[str, float] = MAX_EPOCHS
    groups: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, limits: LargeRun | Mapping[str, Any] | None) -> LargeRun:
        """The limits, of a dictionary of the same names too.

        Raises:
            MixtureError: a name that is none of them.
        """
        if limits is None or isinstance(limits, LargeRun):
            return limits or cls()
        unknown = [name for name in limits if name not in cls.__dataclass_fields__]
        if unknown:
            raise MixtureError(
                f"there is no limit {unknown[0]!r}",
                where="limits",
                remedy=f"the limits are {', '.join(cls.__dataclass_fields__)}; a cap of a domain goes into caps",
            )
        return cls(**limits)

    def limits(self, domains: Sequence[str]) -> Limits:
        """Caps and floors of the domains, in their order.

        Raises:
            MixtureError: an unknown domain, a number out of range, or limits that leave no mixture.
        """
        for name in ("caps", "floors", "available_tokens"):
            given = getattr(self, name)
            highest = np.inf if name == "available_tokens" else 1.0
            for domain, value in given.items():
                if domain not in domains:
                    raise MixtureError(
                        f"{domain!r} is not a domain",
                        where=f"limits.{name}",
                        remedy=f"the domains are {', '.join(domains)}",
                    )
                if not 0 <= value <= highest or (name != "floors" and value == 0):
                    raise MixtureError(
                        f"{domain}: {value}", where=f"limits.{name}", remedy="weights lie in [0, 1], tokens are above 0"
                    )
        if (self.target_tokens is None) != (not self.available_tokens):
            raise MixtureError(
                "epochs follow from target_tokens and available_tokens, and one of them is missing",
                where="limits",
                remedy="give both or neither",
            )
        epochs = self.epochs(domains)
        for name, value in (("target_tokens", self.target_tokens), *(("max_epochs", most) for most in epochs)):
            if value is not None and not 0 < value < np.inf:
                raise MixtureError(f"{value} is not above 0", where=f"limits.{name}", remedy="give a number above 0")
        caps = availability_caps(
            [self.available_tokens.get(name, np.inf) for name in domains],
            None if self.target_tokens is None else int(self.target_tokens),
            epochs,
            [self.caps.get(name) for name in domains],
        )
        found = Limits(tuple(domains), caps, np.array([self.floors.get(name, 0.0) for name in domains]))
        found.check()
        return found

    def epochs(self, domains: Sequence[str]) -> list[float]:
        """How often the large run may see each domain's tokens, in the domains' order.

        Raises:
            MixtureError: an unknown domain.
        """
        named = self.max_epochs if isinstance(self.max_epochs, Mapping) else {}
        whole = MAX_EPOCHS if isinstance(self.max_epochs, Mapping) else self.max_epochs
        unknown = [name for name in named if name not in domains]
        if unknown:
            raise MixtureError(
                f"{unknown[0]!r} is not a domain",
                where="limits.max_epochs",
                remedy=f"the domains are {', '.join(domains)}",
            )
        grouped = of_groups(self.group_limits())
        return [named.get(name, grouped[name].most if name in grouped else whole) for name in domains]

    def group_limits(self) -> tuple[GroupLimit, ...]:
        """Bounds on sums of weights. Raises MixtureError where one is not sound."""
        try:
            return tuple(GroupLimit.model_validate({**each, "domains": tuple(each["domains"])}) for each in self.groups)
        except (ValueError, KeyError) as error:
            raise MixtureError(
                f"a group is not sound: {error}",
                where="limits.groups",
                remedy="give domains, and a cap, a floor or max_epochs",
            ) from error

    def natural(self, domains: Sequence[str]) -> NDArray[np.float64] | None:
        """The natural mixture, (d,), where the tokens of every domain are known."""
        tokens = np.array([float(self.available_tokens.get(name, np.nan)) for name in domains])
        return None if np.isnan(tokens).any() else tokens / tokens.sum()
