"""The saturation law: every domain helps a target by a power of its weight, and help saturates as a power of the
sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.laws.law import Block, Law, Shape

FEW_ROWS = 64
"""Below this, strongly regularised shapes are tried."""


class SaturationLaw(Law):
    """loss = c + exp(b + t.w) (sum_j exp(k_j) (w_j + e)^(g_j))^-a, with g_j = g exp(h_j).

    With t = 0, g_j = 1 and e = 0 this is the published c + a (b.w)^-alpha. A power of each weight is needed because the
    first percent of a domain helps far more than the last: learning from a domain is itself a power law in its
    tokens. e
    represents what other domains teach of a domain that is absent. t lets a domain that is of no use displace others.

    With few rows the simple shape wins (one power for all domains, no t); with many, the full one.
    """

    def blocks(self, d: int) -> list[Block]:
        return [
            Block("offset", 1, 0.0, 3.0),
            Block("level", 1, 0.0, np.inf),
            Block("help", d, 0.0, 1.5),
            Block("saturation", 1, -0.5, 1.0),
            Block("power", 1, np.log(0.5), 0.5),
            Block("own_power", d, 0.0, 0.3),
            Block("absent", 1, np.log(3e-4), 1.0),
            Block("tilt", d, 0.0, 0.4),
        ]

    def shapes(self, rows: int) -> Sequence[Shape]:
        simple = {"own_power": 0.0, "tilt": 0.0}
        if rows < FEW_ROWS:
            return [
                Shape("simple", 0.03, simple, {}),
                Shape("simple, tight", 0.5, simple, {}),
                Shape("full, tight", 0.3, {}, {}),
            ]
        return [
            Shape("full", 0.03, {}, {}),
            Shape("full, tight", 0.2, {}, {}),
            Shape("simple", 0.01, simple, {}),
        ]

    def first_guess(self, theta: Array, X: Array, Y: Array) -> Array:
        """Domains whose weight goes with a low loss help more; the level makes the mean right."""
        W = self.weights_of(X)
        d = W.shape[1]
        Z = np.sqrt(W)
        Z = (Z - Z.mean(axis=0)) / (Z.std(axis=0) + 1e-9)
        slope = np.linalg.solve(Z.T @ Z / len(X) + 0.1 * np.eye(d), Z.T @ Y.T / len(X)).T  # (p, d)
        theta = theta.copy()
        theta[:, 2 : 2 + d] = -1.5 * slope / (np.abs(slope).max(axis=1, keepdims=True) + 1e-9)
        u, _ = self.exponent(theta, X, False)
        theta[:, 1] += (np.log(np.maximum(Y - theta[:, :1], 1e-6)) - u).mean(axis=1)
        return theta

    def weights_of(self, X: Array) -> Array:
        """The columns of X that are weights, (n, d)."""
        return X

    def exponent(self, theta: Array, X: Array, with_jacobian: bool) -> tuple[Array, Array | None]:
        d = X.shape[1]
        share, log_weight, total, power, absent = self._shares(theta, X)
        rate = np.exp(theta[:, 2 + d])[:, None]  # (p, 1)
        tilt = theta[:, 5 + 2 * d :]
        log_total = np.log(total)
        u = theta[:, 1:2] - rate * log_total + tilt @ X.T
        if not with_jacobian:
            return u, None
        share /= total[:, :, None]
        share *= -rate[:, :, None]
        J = np.empty((*u.shape, theta.shape[1]))
        J[:, :, 0] = 0.0
        J[:, :, 1] = 1.0
        J[:, :, 2 : 2 + d] = share
        J[:, :, 2 + d] = -rate * log_total
        share *= power[:, None, :]
        np.multiply(share, log_weight, out=log_weight)
        J[:, :, 3 + d] = log_weight.sum(axis=2)
        J[:, :, 4 + d : 4 + 2 * d] = log_weight
        J[:, :, 4 + 2 * d] = (share / (X[None] + absent[:, None, None])).sum(axis=2) * absent[:, None]
        J[:, :, 5 + 2 * d :] = X
        return u, J

    def _shares(self, theta: Array, X: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Each domain's help exp(k_j) (w_j + e)^(g_j) (p, n, d), log(w_j + e), their sum (p, n), powers (p, d), e
        (p,)."""
        d = X.shape[1]
        absent = np.exp(np.clip(theta[:, 4 + 2 * d], -25, 2))
        power = np.exp(np.clip(theta[:, 3 + d : 4 + d] + theta[:, 4 + d : 4 + 2 * d], -6, 3))
        log_weight = np.log(X[None] + absent[:, None, None])
        share = np.exp(np.clip(theta[:, None, 2 : 2 + d] + power[:, None, :] * log_weight, -60, 60))
        return share, log_weight, share.sum(axis=2), power, absent

    def powers(self, target: int) -> Array:
        """The power g_j of every domain's weight for one target, (d,)."""
        theta = self.learned_["theta"][[target]]
        return self._shares(theta, np.zeros((1, self.n_features_in_)))[3][0]

    def help(self, X: Array, target: int) -> Array:
        """What each domain contributes to one target, exp(k_j) (w_j + e)^(g_j), (m, d): the law's own coordinates."""
        return self._shares(self.learned_["theta"][[target]], X)[0][0]
