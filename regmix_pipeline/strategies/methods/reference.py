"""Mixtures that nobody has to search for: natural, uniform, and one made by hand. They train nothing."""

from __future__ import annotations

from regmix_pipeline.errors import StudyError
from regmix_pipeline.mixtures.anchors import reference_weights
from regmix_pipeline.search.region import natural_inside, rounded_inside
from regmix_pipeline.strategies.arena import Arena, Choice
from regmix_pipeline.strategies.methods.nearest import nearest


class Natural:
    """Every domain in proportion to its tokens, as near as the limits allow."""

    name = "natural"
    paper = ""
    trains = False

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        return Choice.of(natural_inside(arena.prior, arena.limits))


class Uniform:
    """Every domain alike, as near as the limits allow."""

    name = "uniform"
    paper = ""
    trains = False

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        return Choice.of(rounded_inside(reference_weights(arena.prior, arena.limits)["uniform"], arena.limits))


class Human:
    """The mixture that people made, moved inside the limits."""

    name = "human"
    paper = ""
    trains = False

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`.

        Raises:
            StudyError: the study gives none.
        """
        if arena.human is None:
            raise StudyError("no mixture made by hand", where="strategies.human", remedy="give one, or leave it out")
        return nearest(arena, arena.human.vector(arena.domains))
