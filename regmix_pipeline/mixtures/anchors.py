"""Named mixtures that are trained beside the sampled ones: natural, uniform, single domains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.mixtures.limits import Limits, within_limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.together import rounded_together
from regmix_pipeline.study.coordinates import coordinate
from regmix_pipeline.study.settings.mixtures import Anchors


def reference_mixtures(prior: NDArray[np.float64], limits: Limits) -> dict[str, Mixture]:
    """The mixtures every decision is compared with: natural and uniform, each as near as the caps allow.

    Args:
        prior: natural token distribution over ``limits.domains``, shape (d,).

    >>> limits = Limits(("web", "code"), caps=np.array([0.6, 1.0]), floors=np.zeros(2))
    >>> {name: mixture.weights for name, mixture in reference_mixtures(np.array([0.9, 0.1]), limits).items()}
    {'natural': {'code': 0.4, 'web': 0.6}, 'uniform': {'code': 0.5, 'web': 0.5}}
    """
    return {name: _rounded(weights, limits) for name, weights in reference_weights(prior, limits).items()}


def _rounded(weights: NDArray[np.float64], limits: Limits) -> Mixture:
    """As a mixture; of phases that are chosen at once, one that keeps what each of them weighs."""
    if limits.together is None:
        return Mixture.at(limits.domains, weights)
    parts = rounded_together(weights, limits.caps, limits.floors, limits.together)
    return Mixture.of(dict(zip(limits.domains, parts.tolist(), strict=True)))


def reference_weights(prior: NDArray[np.float64], limits: Limits) -> dict[str, NDArray[np.float64]]:
    """The same as exact weights in the order of ``limits.domains``, each of shape (d,)."""
    uniform = np.full(len(limits.domains), 1 / len(limits.domains))
    return {"natural": within_limits(prior, limits), "uniform": within_limits(uniform, limits)}


def anchor_mixtures(prior: NDArray[np.float64], limits: Limits, anchors: Anchors) -> dict[str, Mixture]:
    """The named mixtures asked for, by name: ``natural``, ``uniform``, ``only_<domain>``."""
    references = reference_mixtures(prior, limits)
    chosen = {name: references[name] for name in ("natural", "uniform") if getattr(anchors, name)}
    if anchors.single_domain:
        chosen |= {f"only_{domain}": Mixture.of(parts) for domain, parts in _single(limits).items()}
    return chosen


def _single(limits: Limits) -> dict[str, dict[str, int]]:
    """Domain -> parts of the mixture that holds nothing else, in all phases that are chosen."""
    if limits.together is None:
        return {domain: {domain: PARTS} for domain in limits.domains}
    parts = limits.together.parts
    return {
        domain: {coordinate(phase, domain): part for phase, part in parts.items()} for domain in limits.together.domains
    }
