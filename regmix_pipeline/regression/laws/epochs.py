"""The saturation law with epochs as a variable: how fast a domain's tokens wear out is fitted, domain by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import erf

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.laws.law import Block, Shape
from regmix_pipeline.regression.laws.saturation import SaturationLaw

FORMS = ("effective data", "weibull", "gamma")
"""What repetitions are worth, see `EpochLaw`; the number of each is the parameter `form`."""
MEMORY = 6.0
"""Repetitions at which a domain wears out, before anything is known: published optima are 3 to 6 epochs (arXiv
2608.14071), and the fit to large models of one source is 15.4 (2305.16264)."""
NARROWEST, WIDEST = 0.1, 150.0


class EpochLaw(SaturationLaw):
    """The saturation law of what the weights are worth, with the worth of repetition fitted.

    A domain of weight w whose run sees it e times is worth w (1 + u(e - 1)) / e where e is above 1, and w below. With R
    its memory, in repetitions, u(t) is one of

    - effective data: R (1 - exp(-t / R)), of which each repetition is worth exp(-t / R) (arXiv 2305.16264, equation 5);
    - weibull: R sqrt(pi) / 2 erf(t / R), each worth exp(-(t / R)^2): full worth for longer, then a sharper end;
    - gamma: t exp(-t / R), each worth (1 - t / R) exp(-t / R): more than 1 + R epochs take away from a domain's worth.

    The tilt of the saturation law stays one of the weights. Which form it is, is chosen target by target by the law's
    inner folds. R is fitted for every domain, around what all have in common; of a domain that no run repeats it stays
    there.

    X has 2d columns: the weights, then the epochs that each row's run sees of every domain. Where no row repeats
    anything, this is the saturation law.

    >>> weights = np.linspace(0.05, 0.95, 19)[:, None] * [1, -1] + [0, 1]
    >>> law = EpochLaw().fit(np.column_stack([weights, weights * [20.0, 0.5]]), 3 - weights[:, 0] ** 0.3)
    >>> law.memory(0).shape
    (2,)
    """

    _repeats = True

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        self._repeats = bool((X[:, X.shape[1] // 2 :] > 1).any())
        return super()._fit(X, Y, sample_weight)

    def blocks(self, d: int) -> list[Block]:
        return [
            *super().blocks(d // 2),
            Block("form", 1, 0.0, 0.0),
            Block("memory", 1, float(np.log(MEMORY)), 1.0),
            Block("own_memory", d // 2, 0.0, 0.7),
        ]

    def shapes(self, rows: int) -> Sequence[Shape]:
        if not self._repeats:
            known = {"memory": 0.0, "own_memory": 0.0}
            return [replace(each, widths=each.widths | known) for each in super().shapes(rows)]
        first, *others = super().shapes(rows)
        forms = [
            Shape(f"{first.name}, {form}", first.strength, first.widths, first.means | {"form": float(number)})
            for number, form in enumerate(FORMS)
        ]
        tight = next((each for each in others if "tight" in each.name), None)
        return [*forms, tight] if tight else forms

    def weights_of(self, X: Array) -> Array:
        return X[:, : X.shape[1] // 2]

    def memory(self, target: int) -> Array:
        """R of every domain for one target, in repetitions, (d,)."""
        d = self.n_features_in_ // 2
        return self._memory(self.learned_["theta"][[target]], d)[0]

    def exponent(self, theta: Array, X: Array, with_jacobian: bool) -> tuple[Array, Array | None]:
        W = self.weights_of(X)
        d = W.shape[1]
        value, slope = self._values(theta, X, with_jacobian)
        absent = np.exp(np.clip(theta[:, 4 + 2 * d], -25, 2))
        power = np.exp(np.clip(theta[:, 3 + d : 4 + d] + theta[:, 4 + d : 4 + 2 * d], -6, 3))
        log_value = np.log(value + absent[:, None, None])
        share = np.exp(np.clip(theta[:, None, 2 : 2 + d] + power[:, None, :] * log_value, -60, 60))
        total = share.sum(axis=2)
        rate = np.exp(theta[:, 2 + d])[:, None]
        log_total = np.log(total)
        u = theta[:, 1:2] - rate * log_total + theta[:, 5 + 2 * d : 5 + 3 * d] @ W.T
        if not with_jacobian or slope is None:
            return u, None
        share *= -(rate / total)[:, :, None]
        J = np.zeros((*u.shape, theta.shape[1]))
        J[:, :, 1] = 1.0
        J[:, :, 2 : 2 + d] = share
        J[:, :, 2 + d] = -rate * log_total
        share *= power[:, None, :]
        J[:, :, 4 + d : 4 + 2 * d] = share * log_value
        J[:, :, 3 + d] = J[:, :, 4 + d : 4 + 2 * d].sum(axis=2)
        share /= value + absent[:, None, None]
        J[:, :, 4 + 2 * d] = share.sum(axis=2) * absent[:, None]
        J[:, :, 5 + 2 * d : 5 + 3 * d] = W
        share *= slope
        J[:, :, 7 + 3 * d :] = share
        J[:, :, 6 + 3 * d] = share.sum(axis=2)
        return u, J

    def help(self, X: Array, target: int) -> Array:
        """What each domain contributes to one target, exp(k_j) (v_j + e)^(g_j) of what its weight is worth, (m, d)."""
        theta = self.learned_["theta"][[target]]
        value, _ = self._values(theta, X, False)
        return self._shares(theta, value[0])[0][0]

    def powers(self, target: int) -> Array:
        """The power g_j of every domain's worth for one target, (d,)."""
        theta = self.learned_["theta"][[target]]
        return self._shares(theta, np.zeros((1, self.n_features_in_ // 2)))[3][0]

    def _memory(self, theta: Array, d: int) -> Array:
        return np.exp(
            np.clip(theta[:, 6 + 3 * d : 7 + 3 * d] + theta[:, 7 + 3 * d :], np.log(NARROWEST), np.log(WIDEST))
        )

    def _values(self, theta: Array, X: Array, with_slope: bool) -> tuple[Array, Array | None]:
        """What weights are worth, (p, n, d), and its derivative by log R."""
        W = self.weights_of(X)
        d = W.shape[1]
        epochs = X[:, d:]
        repeated = np.maximum(epochs - 1, 0.0)[None]  # (1, n, d)
        R = self._memory(theta, d)[:, None]  # (p, 1, d)
        ratio = np.minimum(repeated / R, 50.0)
        form = np.rint(theta[:, 5 + 3 * d])
        more, slope = np.empty_like(ratio), np.empty_like(ratio)
        for number in np.unique(form):
            of = form == number
            gained, by_memory = _repetitions(int(number), repeated, ratio[of], R[of])
            more[of], slope[of] = gained, by_memory
        once = np.maximum(epochs, 1.0)[None]
        value = W[None] * (1 + more) / once
        return value, W[None] / once * slope if with_slope else None


def _repetitions(form: int, repeated: Array, ratio: Array, R: Array) -> tuple[Array, Array]:
    """Worth of repetitions in epochs, u(t), and its derivative by log R, (p, n, d) each."""
    if FORMS[form] == "effective data":
        fading = np.exp(-ratio)
        return R * (1 - fading), R * (1 - fading - ratio * fading)
    if FORMS[form] == "weibull":
        whole = np.sqrt(np.pi) / 2 * erf(ratio)
        return R * whole, R * (whole - ratio * np.exp(-(ratio**2)))
    fading = np.exp(-ratio)
    return repeated * fading, repeated * ratio * fading
