"""RegMix with more and smaller proxies for the same compute."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.strategies.arena import Arena, Size
from regmix_pipeline.strategies.methods.experiments import affordable, smaller_proxy
from regmix_pipeline.strategies.methods.regmix import RegMix


@dataclass(frozen=True)
class RegMixSmall(RegMix):
    """RegMix (Liu et al. 2024) as `regmix`, on the study's smaller proxies: as many as the paper trains, where the
    budget pays for them. What it answers is best at the smaller size.

    Attributes:
        most: proxies beyond which none is trained; the paper's number.
    """

    name = "regmix_small"

    most: int = 512

    def proxies(self, arena: Arena, flops: float) -> tuple[Size, int]:
        """The size of the proxies, and how many are trained.

        Raises:
            StudyError: the arena has no smaller proxy.
        """
        size = smaller_proxy(arena, self.name)
        return size, min(affordable(arena, self.name, flops, size.flops), self.most)
