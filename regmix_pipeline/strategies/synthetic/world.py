"""A synthetic world: an arena whose losses come from a known law, so that the best mixture is known as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.limits import Limits, availability_caps
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.search.region import natural_inside, project_to_limits, rounded_inside
from regmix_pipeline.strategies.arena import Account, Array, Choice, Run, Size
from regmix_pipeline.strategies.descent import minimised
from regmix_pipeline.strategies.synthetic.law import WorldLaw
from regmix_pipeline.strategies.synthetic.presets import (
    WorldSettings,
    drawn_law,
    natural_sizes,
    objective_of,
    settings_of,
)
from regmix_pipeline.strategies.synthetic.session import SyntheticSession

PROXY = Size("proxy", 1_000_000, 100_000_000, 1000, 6e6)
SMALL_PROXY = Size("small_proxy", 300_000, 100_000_000, 1000, 1.8e6)
TARGET = Size("target", 1_000_000_000, 25_000_000_000, 25_000, 6e9)
CHECKPOINTS = 10
"""Losses along a run's way, evenly spaced and before its end."""
SCANNED = 4096
"""Mixtures looked at before the best are refined to the optimum."""
STARTS = 24
"""Of the search for the optimum, where pairs may leave several."""


class SyntheticWorld:
    """An `Arena` of known law. Everything is a function of its settings and its seed.

    Proxies repeat each domain as often as the target run would at the same weight, as this package's own do.

    Args:
        settings: what the world is like, or a preset's name.
        seed: of its constants and its noise.
    """

    def __init__(self, settings: WorldSettings | str = "easy", seed: int = 0) -> None:
        self.settings = settings_of(settings) if isinstance(settings, str) else settings
        self.settings.check()
        self.seed = seed
        self.proxy, self.target = PROXY, TARGET
        self.small_proxy: Size | None = SMALL_PROXY
        d = self.settings.domains
        self.domains: tuple[str, ...] = tuple(f"domain_{i:03d}" for i in range(d))
        self.texts = [*self.domains, *(f"outside_{i}" for i in range(self.settings.outside))]
        self.law: WorldLaw = drawn_law(self.settings, self.generator("law"))
        self.objective: Mapping[str, float] = objective_of(self.settings, self.texts, self.generator("objective"))
        # Held-out text of some domains is measured as well, as a study would.
        others = [name for name in self.texts if name not in self.objective]
        self.targets: tuple[str, ...] = (*self.objective, *others[:3])
        self.target_rows = np.array([self.texts.index(name) for name in self.targets])
        rows = [self.texts.index(name) for name in self.objective]
        usefulness = np.array(list(self.objective.values())) @ self.law.need[rows] @ self.law.teach
        self.prior: Array = natural_sizes(self.settings, usefulness, self.generator("sizes"))
        available = self.prior * self.settings.supply * self.target.tokens
        self.epochs: Array | None = self.target.tokens / available
        self.limits = self._limits(available, self.settings.max_epochs or self.law.best_epochs)
        self.reach = self._limits(available, self.law.best_epochs) if self.settings.harm else self.limits
        self.human: Mixture | None = self._by_hand(usefulness)
        self.counted: NgramEvidence | None = None
        self.sample_tokens = 16_384
        self.account = Account()

    def _limits(self, available: Array, epochs: float | Array) -> Limits:
        """Caps of tokens (d,) that may be seen so often, for all domains alike or for each, (d,)."""
        each = np.broadcast_to(epochs, available.shape).tolist()
        caps = availability_caps(available.tolist(), self.target.tokens, each, [None] * len(each))
        return Limits(self.domains, caps, np.zeros(len(each)))

    def fresh(self) -> Self:
        """The same world with an empty account, for the next strategy."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, account=Account())
        return other

    def train(self, mixtures: Sequence[Mixture], size: Size, seed: int = 0, pool: float = 1.0) -> list[Run]:
        """See `Arena.train`; all mixtures at once. With ``pool`` of the tokens that such a run may see of each domain,
        it repeats them 1 / ``pool`` times as often."""
        if not mixtures:
            return []
        self.account.add(size.tokens * len(mixtures), size.flops * len(mixtures), len(mixtures))
        n, rows = len(mixtures), self.target_rows
        weights = np.array([mixture.vector(self.domains) for mixture in mixtures])
        steps = np.round(np.linspace(0, size.steps, CHECKPOINTS + 2)[1:-1])
        shares = np.r_[steps / size.steps, 1.0]
        tokens = (shares[:, None, None] * weights * size.tokens).reshape(-1, len(self.domains))
        learned = self.law.new_tokens(tokens, self.unique_tokens(size) * pool)
        exact = self.law.losses(learned, size.parameters, rows).reshape(len(shares), n, len(rows))
        found = exact + self.noise(mixtures, size, seed)[:, rows]
        windows = np.array(
            [
                self.generator("windows", size.name, seed, mixture.id).standard_normal((CHECKPOINTS, len(rows)))
                for mixture in mixtures
            ]
        )
        along = found[:-1].transpose(1, 2, 0) + self.settings.window_noise * windows.transpose(0, 2, 1)  # (n, T, S)
        return [
            Run(
                mixture,
                seed,
                dict(zip(self.targets, found[-1, i].tolist(), strict=True)),
                steps,
                dict(zip(self.targets, along[i], strict=True)),
            )
            for i, mixture in enumerate(mixtures)
        ]

    def start(self, size: Size, seed: int = 0) -> SyntheticSession:
        """See `Arena.start`."""
        return SyntheticSession(self, size, seed, self.account)

    # ---- what only the world knows

    def true_losses(self, weights: Array, size: Size | None = None) -> Array:
        """Losses without noise of runs on mixtures (n, d), on every target, (n, T); at the target size by default."""
        size = size or self.target
        learned = self.law.new_tokens(weights * size.tokens, self.unique_tokens(size))
        return self.law.losses(learned, size.parameters, self.target_rows)

    def true_objective(self, weights: Array, size: Size | None = None) -> Array:
        """The weighted loss without noise of mixtures (n, d), (n,)."""
        return self.true_losses(weights, size) @ self._shares

    def outcome(self, choice: Choice, seed: int = 0) -> float:
        """The weighted loss of the target run that a choice steers, without the noise of its measurement.

        The run is nobody's account's. A schedule's mixtures are drawn for their shares of the steps.

        Raises:
            StudyError: a policy does not train its session to the end.
        """
        session = SyntheticSession(self, self.target, seed, Account())
        if choice.policy is not None:
            choice.policy(session)
            if session.taken != self.target.steps:
                raise StudyError(
                    f"the policy ended after {session.taken} of {self.target.steps} steps",
                    where="policy",
                    remedy="advance the session to its end",
                )
        for end, mixture in choice.schedule:
            steps = round(end * self.target.steps) - session.taken
            if steps:
                session.advance(mixture.vector(self.domains), steps)
        return float(session.exact()[self.target_rows] @ self._shares)

    def optimum(self, size: Size | None = None) -> Mixture:
        """The best mixture under the limits for a whole run of a size, found from many starts. By default the target's,
        under `reach`: where repetition harms, any domain may be seen as often as is best for it."""
        return self._optimum if size is None else self._best(size, self.limits)

    def regret(self, choice: Choice, seed: int = 0) -> tuple[float, float]:
        """How much worse a choice's target run is than the optimum's: (nats per token, share of what the optimum gains
        over the natural mixture). 0 and 0 for the optimum, 1 for natural; above 1 where natural is better."""
        natural, best = self._references
        lost = self.outcome(choice, seed) - best
        return lost, lost / max(natural - best, 1e-12)

    def unique_tokens(self, size: Size) -> Array:
        """Tokens of each domain that a run of a size may see, (d,)."""
        assert self.epochs is not None
        return size.tokens / self.epochs

    # ---- noise

    def generator(self, *what: Any) -> np.random.Generator:
        """Counted randomness: a pure function of the world's seed and the arguments."""
        return np.random.Generator(np.random.Philox(key=int(fingerprint("world", self.seed, *what), 16)))

    def seed_shift(self, size: Size, seed: int) -> Array:
        """What a seed adds to the losses of all mixtures, (R,)."""
        return self.settings.seed_noise * self.generator("seed", size.name, seed).standard_normal(len(self.texts))

    def noise(self, mixtures: Sequence[Mixture], size: Size, seed: int) -> Array:
        """Noise of runs' losses, (n, R): what their seed adds to all, and each mixture's own."""
        own = [
            self.generator("own", size.name, seed, mixture.id).standard_normal(len(self.texts)) for mixture in mixtures
        ]
        return self.seed_shift(size, seed) + self.settings.own_noise * np.array(own)

    # ---- how the world came to be

    @cached_property
    def _shares(self) -> Array:
        return np.array([self.objective.get(name, 0.0) for name in self.targets])

    def _by_hand(self, usefulness: Array) -> Mixture:
        """A mixture as people make them: flatter than the natural one, and with a vague idea of what is useful."""
        opinion = np.log(usefulness) + self.generator("human").standard_normal(len(usefulness))
        opinion = (opinion - opinion.mean()) / max(opinion.std(), 1e-12)
        weights = np.sqrt(self.prior) * np.exp(0.5 * opinion)
        return rounded_inside(project_to_limits((weights / weights.sum())[None], self.limits)[0], self.limits)

    @cached_property
    def _optimum(self) -> Mixture:
        return self._best(self.target, self.reach)

    def _best(self, size: Size, limits: Limits) -> Mixture:
        def objective(weights: Array) -> Array:
            return self.true_objective(weights, size)

        d, generator = len(self.domains), self.generator("optimum")
        strengths = generator.choice([0.1, 0.5, 2.0], size=(SCANNED, 1))
        scanned = generator.standard_gamma(np.broadcast_to(strengths, (SCANNED, d)))
        scanned = scanned / np.maximum(scanned.sum(axis=1, keepdims=True), 1e-300)
        scanned = project_to_limits(np.concatenate([self.prior[None], np.eye(d), scanned]), limits)
        # Without pairs the objective is convex: sums of concave powers, raised to negative ones. One start is enough.
        count = 1 + STARTS * bool(len(self.law.pairs))
        starts = scanned[np.argsort(objective(scanned), kind="stable")[:count]]
        return rounded_inside(minimised(objective, limits, starts), limits)

    @cached_property
    def _references(self) -> tuple[float, float]:
        """The objective of the natural mixture, as near as the limits allow, and of the optimum."""
        two = [natural_inside(self.prior, self.reach), self._optimum]
        natural, best = self.true_objective(np.array([mixture.vector(self.domains) for mixture in two]))
        return float(natural), float(best)
