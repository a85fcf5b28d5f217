"""DoReMi: a small model trained for the worst excess loss over a reference, and the weights that it met on the way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from regmix_pipeline.strategies.arena import Arena, Array, Choice
from regmix_pipeline.strategies.methods.experiments import affordable, too_small
from regmix_pipeline.strategies.methods.nearest import nearest


def updated(weights: Array, excess: Array, step_size: float = 1.0, smoothing: float = 1e-3) -> Array:
    """Domain weights after one step of exponentiated gradient ascent, (d,) (Xie et al. 2023, algorithm 1).

    w' = (1 - c) w exp(eta max(excess, 0)) / sum + c / d.

    Args:
        weights: before the step, (d,).
        excess: loss of each domain above the reference's, nats per token, (d,).
        step_size: eta.
        smoothing: c.
    """
    raised = weights * np.exp(step_size * np.maximum(excess, 0.0))
    return (1 - smoothing) * raised / raised.sum() + smoothing / len(weights)


@dataclass(frozen=True)
class DoReMi:
    """DoReMi (Xie et al. 2023) with its published step size, smoothing and averaging.

    A reference is trained on the natural mixture. A second model of the same size draws all domains alike, its loss
    weighted by domain weights that follow the clipped excess losses over the reference; the answer is the mean of these
    weights over training. Excess losses are measured on one fixed sample of each domain, so that both models are
    measured on the same text; the paper measures them on each step's own batch. Further rounds take the answer as the
    reference's mixture, until no weight moves by more than `settled`. It asks for no target and knows none.

    Attributes:
        rounds: at most, as far as the budget goes.
        updates: of the weights in a round; fewer where the budget does not pay for measuring so often. The paper
            updates at each of 200,000 steps.
        step_size, smoothing: of an update.
        settled: change of a weight below which a further round is not worth it.
    """

    name = "doremi"
    paper = "Xie et al., DoReMi: Optimizing Data Mixtures Speeds Up Language Model Pretraining, 2305.10429"

    rounds: int = 1
    updates: int = 200
    step_size: float = 1.0
    smoothing: float = 1e-3
    settled: float = 1e-3

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        affordable(arena, self.name, flops, least=2)
        began = arena.account.flops
        weights, details = arena.prior, []
        for number in range(self.rounds):
            left = flops * (1 + 1e-9) - (arena.account.flops - began)
            if number and left < 2 * arena.proxy.flops * 1.5:
                break
            found = self._round(arena, weights, left, seed)
            change = float(np.abs(found - weights).max())
            details.append(round(change, 6))
            weights = found
            if change < self.settled:
                break
        return nearest(arena, weights, changes_by_round=details)

    def _round(self, arena: Arena, reference_weights: Array, flops: float, seed: int) -> Array:
        """Mean weights over one round, (d,)."""
        size, d = arena.proxy, len(arena.domains)
        began = arena.account.flops
        reference = arena.start(size, seed)
        reference.advance(reference_weights, size.steps)
        trained = arena.account.flops
        least = reference.domain_losses()
        measuring = arena.account.flops - trained
        left = flops - (arena.account.flops - began) - size.flops
        updates = min(self.updates, size.steps, int(left // measuring) if measuring else self.updates)
        if updates < 1:
            raise too_small(arena, self.name, flops, 2 * size.flops + 2 * measuring)
        weights, total = np.full(d, 1 / d), np.zeros(d)
        proxy = arena.start(size, seed)
        ends = np.rint(np.linspace(0, size.steps, updates + 1)).astype(int)
        for begin, end in pairwise(ends):
            # As drawn alike, a domain's factor is its weight over 1 / d.
            proxy.advance(np.full(d, 1 / d), int(end - begin), loss_weights=weights * d)
            weights = updated(weights, proxy.domain_losses() - least, self.step_size, self.smoothing)
            total += weights
        return total / updates
