"""RegMix with more and smaller proxies for the same compute."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.errors import StudyError
from regmix_pipeline.strategies.arena import Arena, Size
from regmix_pipeline.strategies.methods.experiments import affordable
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
        if arena.small_proxy is None:
            raise StudyError(
                f"{self.name} trains smaller proxies", where="strategies.small_proxy", remedy="give a smaller proxy"
            )
        return arena.small_proxy, min(affordable(arena, self.name, flops, arena.small_proxy.flops), self.most)
