"""What mixtures have weights of: domains, or, where several phases are chosen at once, each domain in each phase.

Such a weight is called ``<phase>/<domain>``, and is the share of all tokens of these phases that the phase draws of the
domain. Names of domains and phases hold no ``/``, and none of these names becomes a file's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SEPARATOR = "/"


def coordinate(phase: str, domain: str) -> str:
    """Name of a domain's weight in a phase; the domain's own name where ``phase`` is "".

    >>> coordinate("annealing", "web"), coordinate("", "web")
    ('annealing/web', 'web')
    """
    return f"{phase}{SEPARATOR}{domain}" if phase else domain


def domain_of(name: str) -> str:
    """The domain that a weight is of.

    >>> domain_of("annealing/web"), domain_of("web")
    ('web', 'web')
    """
    return name.rpartition(SEPARATOR)[2]


def phase_of(name: str) -> str:
    """The phase that a weight acts in; "" in a study that chooses one.

    >>> phase_of("annealing/web"), phase_of("web")
    ('annealing', '')
    """
    return name.rpartition(SEPARATOR)[0]


def of_phase(weights: Mapping[str, float], phase: str) -> dict[str, float]:
    """Domain -> share of a phase's own tokens, summing to 1; weights of zero are left out.

    >>> of_phase({"pretraining/web": 0.6, "annealing/web": 0.1, "annealing/code": 0.3}, "annealing")
    {'web': 0.25, 'code': 0.75}
    """
    mine = {domain_of(name): weight for name, weight in weights.items() if phase_of(name) == phase and weight > 0}
    total = sum(mine.values())
    # The last digits are those of sums of parts per million: rounded off, shares are what a reader expects.
    return {domain: round(weight / total, 12) for domain, weight in mine.items()}


def over_phases(weights: Mapping[str, float]) -> dict[str, float]:
    """Domain -> its weights in all phases together.

    >>> over_phases({"pretraining/web": 0.5, "annealing/web": 0.25, "annealing/code": 0.25})
    {'web': 0.75, 'code': 0.25}
    """
    found: dict[str, float] = {}
    for name, weight in weights.items():
        found[domain_of(name)] = found.get(domain_of(name), 0.0) + weight
    return found


def domains_of(names: Iterable[str]) -> tuple[str, ...]:
    """The domains that weights are of, each once, in order.

    >>> domains_of(["pretraining/web", "pretraining/code", "annealing/web"])
    ('web', 'code')
    """
    return tuple(dict.fromkeys(domain_of(name) for name in names))
