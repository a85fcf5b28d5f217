"""Strategies without one of their parts, for `benchmarks/choices.py --ways`: what the part is worth.

PYTHONPATH=benchmarks python benchmarks/choices.py --budgets 16 --ways ours_two_sizes ablations:Unmoved
"""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.strategies.methods.ours_two_sizes import SmallThenLarger


@dataclass(frozen=True)
class Unmoved(SmallThenLarger):
    """Two sizes, whose larger runs move nothing: the same runs, so that choices differ by the slopes alone."""

    name = "ours_two_sizes_unmoved"

    follow: bool = False
