"""UniMax: every domain alike, up to a number of epochs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.strategies.arena import Arena, Array, Choice
from regmix_pipeline.strategies.methods.nearest import nearest


@dataclass(frozen=True)
class UniMax:
    """UniMax (Chung et al. 2023, algorithm 1), over domains instead of languages.

    The budget is the target run's tokens. From the smallest domain to the largest, each gets an equal share of what is
    left, or its tokens ``max_epochs`` times where that is less. Nothing is trained and no objective is asked for.

    What differs: where all domains together, seen ``max_epochs`` times, are less than the run, the paper has no answer;
    here they are then seen equally often, as often as the run asks. Caps and floors of the study come afterwards.

    Attributes:
        max_epochs: how often a domain's tokens are seen at most. With the study's own ``limits.max_epochs`` this is
            what the strategy `uniform` chooses.
    """

    name = "unimax"
    paper = (
        "Chung et al., UniMax: Fairer and More Effective Language Sampling for Large-Scale Multilingual Pretraining, "
        "2304.09151"
    )
    trains = False

    max_epochs: float = 1.0

    def __post_init__(self) -> None:
        """Refuse to see nothing.

        Raises:
            StudyError: not above 0.
        """
        if not self.max_epochs > 0:
            raise StudyError(
                f"{self.max_epochs:g} epochs", where="strategies.options.unimax.max_epochs", remedy="allow some"
            )

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        return nearest(arena, allocated(len(arena.domains), arena.epochs, self.max_epochs), max_epochs=self.max_epochs)


def allocated(domains: int, epochs: Array | None, most: float) -> Array:
    """The paper's allocation of a run's tokens, as shares of them, (d,).

    Args:
        domains: how many there are, d.
        epochs: that the run would see of each domain at weight 1, (d,); None: no domain is ever seen twice.
        most: epochs allowed of each.

    >>> allocated(3, np.array([10.0, 2.0, 0.5]), most=1).tolist()
    [0.1, 0.45, 0.45]
    """
    if epochs is None:
        return np.full(domains, 1 / domains)
    caps = np.minimum(most / epochs, 1.0)
    if caps.sum() <= 1:
        return caps / caps.sum()
    weights, left = np.empty(domains), 1.0
    for place, domain in enumerate(np.argsort(caps, kind="stable")):
        weights[domain] = min(caps[domain], left / (domains - place))
        left -= weights[domain]
    return weights
