"""A run under way in a synthetic world: its state is what it has drawn and learned of each domain so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.strategies.arena import Account, Array, Size
from regmix_pipeline.strategies.session_checks import check_steps, checked_factors, checked_weights

if TYPE_CHECKING:
    from regmix_pipeline.strategies.synthetic.world import SyntheticWorld


class SyntheticSession:
    """A `Session` of a `SyntheticWorld`. Its losses depend on its tokens alone, not on their order.

    Args:
        world: whose law it follows.
        size: of the model and the run.
        seed: of its noise.
        account: where its steps are entered.
    """

    def __init__(self, world: SyntheticWorld, size: Size, seed: int, account: Account) -> None:
        self.size, self.taken = size, 0
        self._world, self._seed, self._account = world, seed, account
        self._tokens = np.zeros(len(world.domains))
        self._weighted = np.zeros(len(world.domains))
        account.add(0, 0.0, runs=1)

    def advance(self, weights: Array, steps: int, loss_weights: Array | None = None) -> Array:
        """See `Session.advance`. A token counts in learning by its factor in the loss; the loss returned is the law's
        halfway through these steps, with the noise of few windows."""
        check_steps(steps, self.taken, self.size)
        d = len(self._world.domains)
        weights = checked_weights(weights, d)
        factors = np.ones(d) if loss_weights is None else checked_factors(loss_weights, d)
        fresh = weights * (steps * self.size.tokens / self.size.steps)
        before = self._tokens, self._weighted
        self._tokens, self._weighted = before[0] + fresh / 2, before[1] + fresh * factors / 2
        losses = self._of_domains("training loss", self._world.settings.window_noise)
        self._tokens, self._weighted = before[0] + fresh, before[1] + fresh * factors
        self.taken += steps
        tokens = round(self.taken * self.size.tokens / self.size.steps)
        tokens -= round((self.taken - steps) * self.size.tokens / self.size.steps)
        self._account.add(tokens, self.size.flops_per_token * tokens)
        return np.where(fresh > 0, losses, np.nan)

    def domain_losses(self) -> Array:
        """See `Session.domain_losses`."""
        # A forward pass is a third of a forward and a backward pass.
        passes = len(self._world.domains) * self._world.sample_tokens
        self._account.add(0, passes * self.size.flops_per_token / 3)
        return self._of_domains("domain loss", 0.0)

    def losses(self) -> dict[str, float]:
        """See `Session.losses`."""
        exact = self.exact()
        noise = self._world.noise([self._mixture()], self.size, self._seed)[0]
        found = (exact + noise)[self._world.target_rows]
        return dict(zip(self._world.targets, found.tolist(), strict=True))

    def drawn(self) -> Array:
        """See `Session.drawn`; zeros before the first step."""
        return self._tokens / max(self._tokens.sum(), 1e-300)

    def exact(self) -> Array:
        """Loss on every text without noise, (R,)."""
        factor = np.where(self._tokens > 0, self._weighted / np.maximum(self._tokens, 1e-300), 1.0)
        learned = self._world.law.new_tokens(self._tokens[None], self._world.unique_tokens(self.size)) * factor
        return self._world.law.losses(learned, self.size.parameters)[0]

    def _mixture(self) -> Mixture:
        """What was drawn so far as a mixture, which names the noise; the natural one before the first step."""
        drawn = self.drawn() if self.taken else self._world.prior
        return Mixture.at(self._world.domains, drawn)

    def _of_domains(self, what: str, deviation: float) -> Array:
        """Losses on the domains' training text, (d,), with the seed's noise and further noise of ``deviation``."""
        d = len(self._world.domains)
        shared = self._world.seed_shift(self.size, self._seed)[:d]
        own = self._world.generator(what, self.size.name, self._seed, self.taken).standard_normal(d)
        return self.exact()[:d] + shared + deviation * own
