"""The law of a synthetic world: losses from what a run has learned of each domain and from its model's size.

Every text asks for several skills. Domains teach skills, each by a power of its tokens, and what a text still lacks of
a skill falls as a power of the help it got:

    help_k = sum_i teach_ki (N / N0)^growth_ki (x_i / D0)^returns_i  x  exp(sum_pairs bond_kp 4 s_i s_m)
    loss_j = floor_j + width_j (N / N0)^-shrink + scale_j (N / N0)^stretch_j sum_k need_jk (start + help_k)^-fall_k

with N the parameters, x_i the tokens of domain i as far as they bring something new (Muennighoff et al., arXiv
2305.16264) and s_i their shares. The outer form is that of scaling laws (Hoffmann et al., arXiv 2203.15556). A loss is
a sum over skills, and so of the form of no regressor of this package. Small proxies rank mixtures nearly as the target
run does, and not exactly: skills fall at powers of their own, so they count differently in a longer run, domains have
returns of their own, and what they teach grows or shrinks with the model. Where `stretch` is not 0, texts
also differ in how much their losses depend on the mixture at all in a larger model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WorldLaw:
    """Constants of the law, for d domains, R texts (each domain's own first, then the targets outside) and R skills.

    Attributes:
        teach: what each domain teaches of each skill, not negative, sparse but for a small background, (R, d).
        growth: powers of the model's size in it, (R, d).
        returns: power of each domain's tokens, below 1: returns diminish, (d,).
        pairs: domains that work together or against each other, (P, 2).
        bonds: of each pair for each skill: above 0 they work together, (R, P).
        need: share of each skill in each text, rows summing to 1, (R, R).
        start: help of an untrained model, which has the loss of guessing, (R,).
        fall: power at which help lowers what is lacking of a skill, (R,).
        floor: loss that no data and no model goes below, nats per token, (R,).
        width: what a model of N0 parameters adds for its size, nats per token, (R,).
        shrink: power at which that falls with the model.
        scale: of the part that data lower, nats per token, (R,).
        stretch: power of the model's size in it, (R,).
        decay: repetitions after which a token's worth has fallen to 1/e; of every domain alike, or of each, (d,).
        harm: what each repetition takes away as well, as a share of a new token, in the measure in which the domain is
            worn out. 0: repetition never hurts.
        reference: N0 parameters and D0 tokens, at which the constants are stated.
    """

    teach: Array
    growth: Array
    returns: Array
    pairs: NDArray[np.int64]
    bonds: Array
    need: Array
    start: Array
    fall: Array
    floor: Array
    width: Array
    shrink: float
    scale: Array
    stretch: Array
    decay: float | Array
    reference: tuple[float, float]
    harm: float = 0.0

    def new_tokens(self, drawn: Array, unique: Array) -> Array:
        """Tokens as far as they bring something new, (n, d), of ``drawn`` ones (n, d) from ``unique`` ones (d,)."""
        from regmix_pipeline.regression.laws.worth import worth

        if not self.harm:
            return worth(drawn, 1 / unique, self.decay)
        repeated = np.maximum(drawn / unique - 1, 0.0)
        gained = (1 + self.harm) * self.decay * -np.expm1(-repeated / self.decay) - self.harm * repeated
        # What was learned in the first epoch stays.
        return np.minimum(drawn, unique) + unique * np.maximum(gained, 0.0)

    @property
    def best_epochs(self) -> Array:
        """Epochs after which more of a domain takes away from what was learned of it, (d,); infinite without harm."""
        with np.errstate(divide="ignore"):
            worn = np.log1p(1 / np.float64(self.harm))
        return 1 + worn * np.broadcast_to(self.decay, self.returns.shape)

    def losses(self, learned: Array, parameters: float, rows: NDArray[np.int64] | None = None) -> Array:
        """Losses without noise.

        Args:
            learned: tokens learned of each domain, repeated ones for what they are worth, (n, d).
            parameters: of the model.
            rows: numbers of the texts asked for, (q,); default all.

        Returns:
            Nats per token, (n, q).
        """
        which = np.arange(len(self.floor)) if rows is None else rows
        need = self.need[which]
        skills = np.flatnonzero(need.any(axis=0))
        growing = (parameters / self.reference[0]) ** self.growth[skills]
        help_ = (learned / self.reference[1]) ** self.returns @ (self.teach[skills] * growing).T
        if len(self.pairs):
            share = learned / np.maximum(learned.sum(axis=1, keepdims=True), 1e-300)
            together = 4 * share[:, self.pairs[:, 0]] * share[:, self.pairs[:, 1]]
            help_ = help_ * np.exp(together @ self.bonds[skills].T)
        lacking = (self.start[skills] + help_) ** -self.fall[skills]
        width = self.width[which] * (parameters / self.reference[0]) ** -self.shrink
        scale = self.scale[which]
        if self.stretch.any():
            scale = scale * (parameters / self.reference[0]) ** self.stretch[which]
        return self.floor[which] + width + scale * (lacking @ need[:, skills].T)
