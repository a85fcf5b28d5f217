"""Named mixtures that are trained beside the sampled ones: natural, uniform, single domains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.mixtures.limits import Limits, within_limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.study.settings.mixtures import Anchors


def reference_mixtures(prior: NDArray[np.float64], limits: Limits) -> dict[str, Mixture]:
    """The mixtures every decision is compared with: natural and uniform, each as near as the caps allow.

    Args:
        prior: natural token distribution over ``limits.domains``, shape (d,).

    >>> limits = Limits(("web", "code"), caps=np.array([0.6, 1.0]), floors=np.zeros(2))
    >>> {name: mixture.weights for name, mixture in reference_mixtures(np.array([0.9, 0.1]), limits).items()}
    {'natural': {'code': 0.4, 'web': 0.6}, 'uniform': {'code': 0.5, 'web': 0.5}}
    """
    return {name: Mixture.at(limits.domains, weights) for name, weights in reference_weights(prior, limits).items()}


def reference_weights(prior: NDArray[np.float64], limits: Limits) -> dict[str, NDArray[np.float64]]:
    """The same as exact weights in the order of ``limits.domains``, each of shape (d,)."""
    uniform = np.full(len(limits.domains), 1 / len(limits.domains))
    return {"natural": within_limits(prior, limits), "uniform": within_limits(uniform, limits)}


def anchor_mixtures(prior: NDArray[np.float64], limits: Limits, anchors: Anchors) -> dict[str, Mixture]:
    """The named mixtures asked for, by name: ``natural``, ``uniform``, ``only_<domain>``."""
    references = reference_mixtures(prior, limits)
    chosen = {name: references[name] for name in ("natural", "uniform") if getattr(anchors, name)}
    if anchors.single_domain:
        chosen |= {f"only_{domain}": Mixture.of({domain: PARTS}) for domain in limits.domains}
    return chosen
