"""The sampling plan: how many tokens a run draws from every file, whole epochs and the partial one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.formats.data import DataFile, DomainData
from regmix_pipeline.mixtures.mixture import PARTS


@dataclass(frozen=True)
class Drawn:
    """What is drawn from one file, or from all of a domain whose files are not known one by one.

    Attributes:
        domain: the domain.
        address: the file's path or address.
        tokens: tokens drawn, repetition counted.
        available: tokens in the file; None where nobody knows.
    """

    domain: str
    address: str
    tokens: int
    available: int | None

    @property
    def epochs(self) -> float | None:
        """Tokens drawn / tokens available."""
        return None if not self.available else self.tokens / self.available

    @property
    def whole_epochs(self) -> int | None:
        """How often the file is read from its first token to its last."""
        return None if not self.available else self.tokens // self.available

    @property
    def partial_tokens(self) -> int | None:
        """Tokens of the last, partial epoch; 0 where there is none."""
        return None if not self.available else self.tokens % self.available

    def as_json(self) -> dict[str, Any]:
        """The row of the plan."""
        return {
            "domain": self.domain,
            "file": self.address,
            "available_tokens": self.available,
            "tokens": self.tokens,
            "epochs": self.epochs,
            "whole_epochs": self.whole_epochs,
            "partial_epoch_tokens": self.partial_tokens,
        }


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to ``sizes`` that sum to ``total``, by largest remainder; ties to the first.

    In whole numbers throughout: a budget of trillions of tokens times a file's tokens is more than a float holds.

    Args:
        total: the sum wanted, not negative.
        sizes: not negative and not all zero; a size of zero gets nothing.
    """
    whole = sum(sizes)
    found = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda place: -(total * sizes[place] % whole))
    for place in by_remainder[: total - sum(found)]:
        found[place] += 1
    return found


def sampling_plan(
    mixture: Mapping[str, float],
    data: Mapping[str, DomainData],
    budget: int,
    max_epochs: float = math.inf,
    caps: Mapping[str, float | None] | None = None,
    own_epochs: Mapping[str, float] | None = None,
    before: Mapping[str, int] | None = None,
) -> list[Drawn]:
    """What a run of ``budget`` tokens draws from every file; the rows sum to the budget exactly.

    Every file of a domain is read whole as often as the domain is; the last, partial epoch is spread over the files in
    proportion to their tokens.

    Args:
        mixture: domain -> share of the tokens.
        data: domain -> its files.
        budget: tokens of the run.
        max_epochs: how often the run may see the same token.
        caps: domain -> highest weight; None for no cap.
        own_epochs: domain -> how often the run may see its tokens, where that is not `max_epochs`.
        before: domain -> tokens that earlier phases drew of it, which count as well.

    Raises:
        MixtureError: a domain would be repeated more often, or weighs more, than its cap.
    """
    weights = {domain: weight for domain, weight in mixture.items() if weight > 0}
    # Finer than the parts of a mixture: a phase's share of one is no whole number of its own parts.
    shares = apportion(budget, [round(weights[domain] * PARTS**2) for domain in weights])
    for domain, weight in weights.items():
        _within_cap(domain, weight, (caps or {}).get(domain))
    most = {domain: (own_epochs or {}).get(domain, max_epochs) for domain in weights}
    _within_epochs(dict(zip(weights, shares, strict=True)), data, most, before or {})
    plan: list[Drawn] = []
    for domain, tokens in zip(weights, shares, strict=True):
        plan += _spread(domain, tokens, data[domain].listed, data[domain].available)
    return plan


def _within_cap(domain: str, weight: float, cap: float | None) -> None:
    if cap is not None and weight > cap + 1 / PARTS:
        raise MixtureError(
            f"the mixture weighs {weight:.4f}, above the cap {cap:.4f} of its domain",
            where=f"domains.{domain}",
            remedy="the record breaks its own limits: run `regmix audit`, and decide again",
        )


def _within_epochs(
    drawn: Mapping[str, int], data: Mapping[str, DomainData], allowed: Mapping[str, float], before: Mapping[str, int]
) -> None:
    together = {domain: tokens + before.get(domain, 0) for domain, tokens in drawn.items()}
    epochs = {domain: tokens / (data[domain].available or math.inf) for domain, tokens in together.items()}
    # One token more is the rounding of a weight that sits on its cap; one more, of what came before.
    over = [
        domain
        for domain in drawn
        if together[domain] > allowed[domain] * (data[domain].available or math.inf) + 1 + (domain in before)
    ]
    if not over:
        return
    worst = max(over, key=lambda domain: epochs[domain] / allowed[domain])
    others = f" (and so would {', '.join(domain for domain in over if domain != worst)})" if len(over) > 1 else ""
    earlier = before.get(worst, 0)
    left = allowed[worst] * (data[worst].available or math.inf) - earlier
    most = max(int(sum(drawn.values()) * left / drawn[worst]), 0)
    raise MixtureError(
        f"{drawn[worst]:,} tokens would be drawn from {data[worst].available:,}"
        f"{f', after {earlier:,} in earlier phases' if earlier else ''}: {epochs[worst]:.2f} epochs break the cap of "
        f"{allowed[worst]:g}{others}",
        where=f"domains.{worst}",
        remedy=f"a budget of at most {most:,} tokens keeps every cap; or {data[worst].remedy}; or raise "
        "max_epochs of the domain or of limits, and decide again",
    )


def _spread(domain: str, tokens: int, files: Sequence[DataFile], available: int | None) -> list[Drawn]:
    sizes = [file.tokens for file in files]
    if None in sizes or not any(sizes):
        # Nobody counted the files: the domain is one row, under the address that names them all.
        return [Drawn(domain, files[0].address, tokens, available)]
    counted = [size or 0 for size in sizes]
    epochs, rest = divmod(tokens, sum(counted))
    last = apportion(rest, counted)
    return [
        Drawn(domain, file.address, epochs * size + more, size)
        for file, size, more in zip(files, counted, last, strict=True)
    ]


def by_domain(plan: Sequence[Drawn], data: Mapping[str, DomainData]) -> list[dict[str, Any]]:
    """The plan's totals, a row per domain."""
    tokens: dict[str, int] = {}
    for row in plan:
        tokens[row.domain] = tokens.get(row.domain, 0) + row.tokens
    budget = sum(tokens.values())
    rows = []
    for domain, drawn in tokens.items():
        total = Drawn(domain, "", drawn, data[domain].available).as_json()
        del total["file"]
        rows.append(total | {"files": len(data[domain].listed), "share": drawn / budget})
    return rows
