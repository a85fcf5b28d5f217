"""Laws as convex programs: the best mixture of a convex law, and how far weights may move from it, for certain."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.laws.exponential import PowerExponentialLaw
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.region import Region

Array = NDArray[np.float64]


class ConvexSearch:
    """The objective under one law, and the region, in cvxpy's terms.

    Attributes:
        weights: the cvxpy variable, (d,).
        value: expression of the objective, nats per token.
        constraints: the region without the trust radius.
    """

    def __init__(self, objective: Objective, region: Region, law: str) -> None:
        import cvxpy as cp

        model = objective.fitted.models[law]
        share = objective.fitted.shares(objective.target_weights)
        counted = np.flatnonzero(share)
        self.region = region
        self.weights = cp.Variable(len(region.prior), nonneg=True)
        losses = [loss_expression(model, int(j), self.weights) for j in counted]
        if objective.worst_case:
            natural = [float(model.predict_targets(objective.natural[None], [int(j)])[0, 0]) for j in counted]
            scaled = [
                (loss - zero) * float(share[j] / share.max())
                for loss, zero, j in zip(losses, natural, counted, strict=True)
            ]
            self.value: Any = cp.max(cp.hstack(scaled))
        else:
            self.value = cp.sum(cp.hstack([loss * float(share[j]) for loss, j in zip(losses, counted, strict=True)]))
        self.constraints = self._region()

    def _region(self) -> list[Any]:
        import cvxpy as cp

        w, region = self.weights, self.region
        found = [cp.sum(w) == 1, w <= region.limits.caps, w >= region.limits.floors]
        if (together := region.limits.together) is not None:
            phases, domains = together.matrices()
            found = [phases @ w == together.shares, *found[1:]]
            found += [domains @ w <= together.caps, domains @ w >= together.floors]
        if len(region.groups):
            found += [region.groups @ w <= region.group_caps, region.groups @ w >= region.group_floors]
        if np.isfinite(region.max_divergence):
            found.append(cp.sum(cp.kl_div(w, np.maximum(region.prior, 1e-12))) <= region.max_divergence)
        return found

    def near(self, centre: Array) -> list[Any]:
        """The constraint to lie within the trust radius of one observed mixture: sum sqrt(w v) >= 1 - r^2."""
        import cvxpy as cp

        held = centre > 0
        overlap = cp.sum(cp.multiply(np.sqrt(centre[held]), cp.sqrt(self.weights[held])))
        return [overlap >= 1 - self.region.trust_radius**2]

    def optimum(self, extra: Sequence[Any] = ()) -> Array | None:
        """The mixture with the least objective, (d,), or None when the constraints or the solver allow none."""
        import cvxpy as cp

        return self._solved(cp.Problem(cp.Minimize(self.value), [*self.constraints, *extra]))

    def near_prior(self, strength: float) -> Array | None:
        """The mixture with the least objective + strength x KL(w || prior), (d,); None as of `optimum`.

        Args:
            strength: nats of the objective per nat of divergence, not negative.
        """
        import cvxpy as cp

        divergence = cp.sum(cp.kl_div(self.weights, np.maximum(self.region.prior, 1e-12)))
        return self._solved(cp.Problem(cp.Minimize(self.value + strength * divergence), self.constraints))

    def ends(self, bound: float) -> Array:
        """Lowest and highest weight of each domain with the objective at most ``bound``, (d, 2); NaN where unsolved."""
        import cvxpy as cp

        d = len(self.region.prior)
        direction = cp.Parameter(d)
        problem = cp.Problem(cp.Minimize(direction @ self.weights), [*self.constraints, self.value <= bound])
        found = np.full((d, 2), np.nan)
        for j in range(d):
            for side, sign in ((0, 1.0), (1, -1.0)):
                direction.value = sign * np.eye(d)[j]
                end = self._solved(problem)
                if end is not None:
                    found[j, side] = end[j]
        return found

    def _solved(self, problem: Any) -> Array | None:
        import cvxpy as cp

        try:
            with warnings.catch_warnings():
                # What is not solved exactly is taken and judged as any other candidate.
                warnings.filterwarnings("ignore", message="Solution may be inaccurate")
                problem.solve(solver=cp.CLARABEL)
        except cp.SolverError:
            return None
        if problem.status not in ("optimal", "optimal_inaccurate") or self.weights.value is None:
            return None
        found = np.clip(self.weights.value, self.region.limits.floors, self.region.limits.caps)
        return found / found.sum()


def is_convex(model: MixtureRegressor, column: int) -> bool:
    """Whether a law is convex in the weights, by the rules of composition.

    Saturation: a sum of powers <= 1 is concave and positive, minus its logarithm convex, and so is the exponential of
    that plus a linear term. Exponential in weights and logarithms: convex when no logarithm has a positive coefficient.
    """
    theta = model.learned_["theta"][column] if isinstance(model, SaturationLaw | PowerExponentialLaw) else None
    d = model.n_features_in_
    if isinstance(model, SaturationLaw):
        assert theta is not None
        return bool((model.powers(column) <= 1.0).all())
    if isinstance(model, PowerExponentialLaw):
        assert theta is not None
        return bool((theta[2 + d : 2 + 2 * d] <= 0).all())
    return False


def loss_expression(model: MixtureRegressor, column: int, w: Any) -> Any:
    """A convex law's loss on one target as a cvxpy expression of the weights."""
    import cvxpy as cp

    known = model.learned_
    theta, d = known["theta"][column], model.n_features_in_
    if isinstance(model, SaturationLaw):
        powers, absent = model.powers(column), float(np.exp(theta[4 + 2 * d]))
        # Scaled to 1 at most, so that the solver sees sums of ordinary size.
        strengths = np.exp(theta[2 : 2 + d] - theta[2 : 2 + d].max())
        lift = float(np.exp(theta[2 + d]) * theta[2 : 2 + d].max())
        helps = [
            float(k) * cp.power(w[j] + absent, float(g), approx=False)
            for j, (k, g) in enumerate(zip(strengths, powers, strict=True))
        ]
        exponent = (
            float(theta[1])
            - lift
            + theta[5 + 2 * d :] @ w
            - float(np.exp(theta[2 + d])) * cp.log(cp.sum(cp.hstack(helps)))
        )
    else:
        exponent = float(theta[1]) + theta[2 : 2 + d] @ w
        if (theta[2 + d : 2 + 2 * d] != 0).any():
            exponent = exponent + theta[2 + d : 2 + 2 * d] @ cp.log1p(w / float(np.exp(theta[-1])))
    level, scale = float(known["level"][column]), float(known["scale"][column])
    return level + scale * (float(theta[0]) + cp.exp(exponent))
