"""A mixture: an exact point of the simplex over domains.

Weights are whole parts per million, so they sum to 1 exactly, compare exactly and hash the same everywhere. Domains of
weight zero are not part of a mixture's identity: a mixture keeps its id when the study gains a domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.study.coordinates import coordinate, phase_of
from regmix_pipeline.study.settings.mixtures import PARTS


@dataclass(frozen=True)
class Mixture:
    """Weights of domains in parts per million, positive, sorted by domain, summing to 1,000,000.

    Make one with `Mixture.of` or `Mixture.from_weights`, which check and normalise.
    """

    parts: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, parts: Mapping[str, int]) -> Mixture:
        """From whole parts per million.

        Raises:
            MixtureError: a part is negative, or they do not sum to 1,000,000.
        """
        negative = [domain for domain, part in parts.items() if part < 0]
        if negative:
            raise MixtureError("a weight is negative", where=negative[0], remedy="weights lie between 0 and 1")
        total = sum(parts.values())
        if total != PARTS:
            raise MixtureError(f"parts sum to {total}, not {PARTS}", remedy="normalise the weights first")
        return cls(tuple(sorted((domain, int(part)) for domain, part in parts.items() if part)))

    @classmethod
    def from_weights(cls, weights: Mapping[str, float], *, quantum: int = 1) -> Mixture:
        """From real weights: normalised, then rounded to multiples of ``quantum`` parts by largest remainder.

        Raises:
            MixtureError: a weight is negative or not finite, or all are zero.

        >>> Mixture.from_weights({"code": 1, "web": 2}).weights
        {'code': 0.333333, 'web': 0.666667}
        """
        names = sorted(weights)
        values = np.array([float(weights[name]) for name in names])
        if not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
            raise MixtureError("weights must be finite, not negative and not all zero", remedy=f"got {dict(weights)}")
        units = largest_remainder(values / values.sum(), PARTS // quantum) * quantum
        return cls.of(dict(zip(names, units.tolist(), strict=True)))

    @classmethod
    def at(cls, domains: Sequence[str], weights: NDArray[np.float64]) -> Mixture:
        """At a point of the simplex, shape (len(domains),), as `from_weights`; the inverse of `vector`.

        >>> Mixture.at(["web", "code"], np.array([0.75, 0.25])).weights
        {'code': 0.25, 'web': 0.75}
        """
        return cls.from_weights(dict(zip(domains, weights.tolist(), strict=True)))

    @classmethod
    def in_all_phases(cls, weights: Mapping[str, float], parts: Mapping[str, int]) -> Mixture:
        """A mixture over domains as one of phases that are chosen at once, each of which draws it.

        Args:
            weights: domain -> weight, as for `from_weights`.
            parts: phase -> what its weights sum to, in parts per million; empty: of one mixture.

        >>> Mixture.in_all_phases({"web": 3, "code": 1}, {"pretraining": 900_000, "annealing": 100_000}).parts[0]
        ('annealing/code', 25000)
        """
        one = cls.from_weights(weights)
        if not parts:
            return one
        names, shares = zip(*one.weights.items(), strict=True)
        found: dict[str, int] = {}
        for phase, part in parts.items():
            whole = largest_remainder(np.array(shares), part).tolist()
            found |= {coordinate(phase, name): each for name, each in zip(names, whole, strict=True)}
        return cls.of(found)

    def renamed(self, names: Mapping[str, str]) -> Mixture:
        """The same weights with domains called as ``names`` says, former name -> name; others keep theirs.

        >>> Mixture.from_weights({"code": 1, "web": 3}).renamed({"web": "pages"}).weights
        {'code': 0.25, 'pages': 0.75}
        """
        return Mixture.of({names.get(domain, domain): part for domain, part in self.parts})

    def has_phases(self, parts: Mapping[str, int]) -> bool:
        """Whether the weights of each phase sum to its parts per million, where it holds several phases'.

        >>> both = Mixture.of({"pretraining/web": 900_000, "annealing/code": 100_000})
        >>> both.has_phases({"pretraining": 900_000, "annealing": 100_000}), both.has_phases({"pretraining": 1_000_000})
        (True, False)
        """
        held = {phase: sum(part for name, part in self.parts if phase_of(name) == phase) for phase in parts}
        return held == dict(parts)

    @property
    def id(self) -> str:
        """Content id, ``m`` and 12 hex digits. Equal weights, equal id; the order of domains does not matter."""
        return "m" + fingerprint("mixture", self.parts)[:12]

    @property
    def weights(self) -> dict[str, float]:
        """Domain -> weight in (0, 1]; domains of weight zero are left out."""
        return {domain: part / PARTS for domain, part in self.parts}

    def vector(self, domains: Sequence[str]) -> NDArray[np.float64]:
        """Weights in the order of ``domains``, shape (len(domains),).

        Raises:
            MixtureError: the mixture draws on a domain that is not listed.

        >>> Mixture.from_weights({"code": 1, "web": 3}).vector(["web", "books", "code"]).tolist()
        [0.75, 0.0, 0.25]
        """
        weights = self.weights
        unknown = sorted(set(weights) - set(domains))
        if unknown:
            raise MixtureError(f"mixture {self.id} draws on unknown domains {unknown}", remedy="list them in the study")
        return np.array([weights.get(domain, 0.0) for domain in domains])


def largest_remainder(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers nearest to ``shares * total`` that sum to ``total`` (Hamilton's method); zero shares stay zero.

    Args:
        shares: shape (d,), not negative, summing to 1.
        total: the sum wanted.

    >>> largest_remainder(np.array([0.5, 0.3, 0.2]), 7).tolist()
    [4, 2, 1]
    """
    exact = shares * total
    whole = np.floor(exact + 1e-9).astype(np.int64)
    missing = total - int(whole.sum())
    # Ties are broken by position, so the result is a function of the input alone.
    order = np.lexsort((np.arange(len(shares)), -(exact - whole)))
    eligible = order[shares[order] > 0]
    whole[eligible[:missing]] += 1
    return whole
