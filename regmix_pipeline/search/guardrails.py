"""Guardrails: no stated target's predicted loss may be more than so much above the natural mixture's.

They are constraints on predictions of the regressors that the objective is made of, so a mixture keeps them or not by
the same numbers that it is chosen by. The natural mixture keeps every guardrail that does not ask for an improvement;
mixtures that keep them need not be a convex set, and are therefore found by trying.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.region import Region, rounded_inside
from regmix_pipeline.study.settings.search import Guardrail

Array = NDArray[np.float64]
TOLERANCE = 1e-9
"""Nats per token that a guardrail may be missed by: two batches of predictions differ in their last digits."""
MARGIN = 1e-5
"""Nats per token by which descents stay inside: weights are rounded to a millionth afterwards."""
ACTIVE = 1e-3
"""Slack in nats per token below which a guardrail holds the answer back: what was refined by drawing candidates stops a
little short."""
WAYS = np.concatenate([[0.0], np.geomspace(1e-5, 1.0, 40)])
"""How far from a mixture that breaks a guardrail to one that keeps all is looked, as shares of the way."""


@dataclass(frozen=True)
class Guardrails:
    """Upper bounds of targets' predicted losses.

    Attributes:
        fitted: the regressors.
        targets: names of the targets that have a bound, each once.
        worse_by: how much above the natural mixture's each may be, (g,), nats per token.
        natural: predicted for the natural mixture, (g,), nats per token.
    """

    fitted: FittedRegressor
    targets: tuple[str, ...]
    worse_by: Array
    natural: Array

    @classmethod
    def of(cls, fitted: FittedRegressor, asked: Iterable[Guardrail], natural: Array) -> Guardrails | None:
        """The strictest bound of each target; None where nothing is asked.

        Args:
            fitted: the regressors.
            asked: as the study states them.
            natural: the mixture that losses are compared with, (d,).

        Raises:
            MixtureError: a guardrail names a target that the regressors do not predict.
        """
        bounds: dict[str, float] = {}
        for number, guardrail in enumerate(asked):
            for name in guardrail.targets or fitted.targets:
                if name not in fitted.targets:
                    raise MixtureError(
                        f"{name!r} is not a target whose loss is predicted",
                        where=f"search.guardrails.{number}",
                        remedy=f"name targets: {', '.join(fitted.targets)}",
                    )
                bounds[name] = min(bounds.get(name, np.inf), guardrail.worse_by)
        if not bounds:
            return None
        targets = tuple(name for name in fitted.targets if name in bounds)
        at_natural = fitted.predict(natural[None], targets=targets)[0]
        return cls(fitted, targets, np.array([bounds[name] for name in targets]), at_natural)

    def slack(self, weights: Array) -> Array:
        """How far below its bound each target's predicted loss is, (m, d) -> (m, g); negative: the bound is broken."""
        return self.natural + self.worse_by - self.fitted.predict(weights, targets=self.targets)

    def keeps(self, weights: Array) -> NDArray[np.bool_]:
        """Which mixtures (m, d) keep every guardrail, (m,)."""
        if not len(weights):
            return np.zeros(0, dtype=bool)
        return np.all(self.slack(weights) >= -TOLERANCE, axis=1)

    def rows(self, weights: Array) -> list[dict[str, Any]]:
        """What a mixture (d,) makes of each guardrail: target, worse_by, natural and predicted (losses, nats per
        token), difference (predicted - natural), slack (worse_by - difference) and active (hardly any slack)."""
        slack = self.slack(weights[None])[0]
        return [
            {
                "target": name,
                "worse_by": float(self.worse_by[j]),
                "natural": float(self.natural[j]),
                "predicted": float(self.natural[j] + self.worse_by[j] - slack[j]),
                "difference": float(self.worse_by[j] - slack[j]),
                "slack": float(max(slack[j], 0.0) if slack[j] >= -TOLERANCE else slack[j]),
                "active": bool(slack[j] < ACTIVE),
            }
            for j, name in enumerate(self.targets)
        ]

    def broken(self, points: Array) -> MixtureError:
        """The error that none of mixtures (m, d) keeps the guardrails: names those that the nearest breaks."""
        slack = self.slack(points)
        nearest = slack[int(slack.min(axis=1).argmax())]
        missed = [j for j in np.argsort(nearest) if nearest[j] < -TOLERANCE]
        said = ", ".join(
            f"{self.targets[j]} is predicted {self.worse_by[j] - nearest[j]:+.4f} against natural, at most "
            f"{self.worse_by[j]:+.4f} is allowed"
            for j in missed
        )
        raised = ", ".join(
            f"worse_by of {self.targets[j]} to {np.ceil((self.worse_by[j] - nearest[j]) * 1e4) / 1e4:.4f}"
            for j in missed
        )
        return MixtureError(
            f"no mixture inside the limits was found that keeps every guardrail; of the nearest, {said}",
            where="search.guardrails",
            remedy=f"raise {raised} or more, or widen caps, groups, max_divergence or trust_radius",
        )


def pulled_inside(guardrails: Guardrails, region: Region, ends: Iterable[Array], anchor: Array) -> list[Array]:
    """Mixtures on the way from each of ends (d,) to ``anchor`` (d,), which keeps all: the first that keeps all too."""
    found = []
    for end in ends:
        way = end + WAYS[:, None] * (anchor - end)
        kept = np.flatnonzero(region.allow(way) & guardrails.keeps(way))
        if len(kept):
            found.append(way[kept[0]])
    return found


def rounded_keeping(guardrails: Guardrails | None, region: Region, weights: Array, anchors: Sequence[Array]) -> Mixture:
    """A point (d,) in whole parts per million that respects caps, floors and guardrails: itself, or the nearest on the
    way to an anchor.

    Raises:
        MixtureError: none of them keeps the guardrails.
    """
    mixture = rounded_inside(weights, region.limits)
    if guardrails is None:
        return mixture
    tried = []
    for anchor in (weights, *anchors):
        for way in WAYS:
            mixture = rounded_inside(weights + way * (anchor - weights), region.limits)
            at = mixture.vector(region.limits.domains)
            if guardrails.keeps(at[None])[0] and (anchor is weights or region.allow(at[None], 1e-5)[0]):
                return mixture
            tried.append(at)
            if anchor is weights:
                break
    raise guardrails.broken(np.array(tried))
