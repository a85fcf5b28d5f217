"""Stop a proxy early when its final loss follows from the one it has, as pilots trained to the end have shown.

A power law in the step does not hold under a learning rate that decays. What holds under any schedule is that proxies
run it alike: over mixtures, the final loss is close to a straight line in the loss at the stop. The line and its error
come from the pilots, left out one at a time, and a proxy is stopped only where that error is small beside what mixtures
differ by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.spec import ProxySpec

Array = NDArray[np.float64]
FEWEST_PILOTS = 4


@dataclass(frozen=True)
class FinalLossExtrapolation:
    """Final loss = intercept + slope x loss at the stop, per target; arrays of shape (T,).

    Attributes:
        targets: names of the targets.
        intercept: nats per token.
        slope: without unit.
        error: root mean square error of the pilots' final losses, each extrapolated without itself, nats per token.
        spread: standard deviation of the pilots' final losses.
        pilots: how many.
    """

    targets: tuple[str, ...]
    intercept: Array
    slope: Array
    error: Array
    spread: Array
    pilots: int

    @property
    def relative_error(self) -> dict[str, float]:
        """Target -> error / spread: 0 predicts exactly, 1 no better than the mean."""
        relative = self.error / np.maximum(self.spread, 1e-12)
        return dict(zip(self.targets, relative.tolist(), strict=True))

    def final(self, target: str, loss: float) -> tuple[float, float]:
        """Final loss extrapolated from the loss at the stop, and its standard error; nats per token."""
        at = self.targets.index(target)
        return float(self.intercept[at] + self.slope[at] * loss), float(self.error[at])

    def holds_for(self, targets: Sequence[str], tolerance: float) -> bool:
        """Whether every one of the targets is extrapolated to within ``tolerance`` of what mixtures differ by."""
        return all(self.relative_error[target] <= tolerance for target in targets)


def fit_extrapolation(targets: Sequence[str], at_stop: Array, final: Array) -> FinalLossExtrapolation:
    """Least squares over the pilots.

    Args:
        targets: names, T of them.
        at_stop: the pilots' losses at the stop, (p, T), p >= 4.
        final: their losses at the end on the same windows, (p, T).

    Raises:
        ProxyError: too few pilots, or tables of different shapes.
    """
    p = len(at_stop)
    if p < FEWEST_PILOTS or at_stop.shape != final.shape or at_stop.shape[1] != len(targets):
        raise ProxyError(
            f"{p} pilots with losses of shape {at_stop.shape} and {final.shape}",
            where="proxies.early_stopping",
            remedy=f"train at least {FEWEST_PILOTS} pilots to the end",
        )
    x, y = at_stop - at_stop.mean(axis=0), final - final.mean(axis=0)
    squares = np.maximum((x**2).sum(axis=0), 1e-24)
    slope = (x * y).sum(axis=0) / squares
    leverage = 1 / p + x**2 / squares
    residual = (y - slope * x) / np.maximum(1 - leverage, 1e-6)
    return FinalLossExtrapolation(
        tuple(targets),
        final.mean(axis=0) - slope * at_stop.mean(axis=0),
        slope,
        np.sqrt((residual**2).mean(axis=0)),
        final.std(axis=0, ddof=1),
        p,
    )


def stopped(spec: ProxySpec, at: float) -> ProxySpec:
    """The same proxy, stopped after a share ``at`` of its steps."""
    return spec.model_copy(update={"stop_at": stop_step(spec, at), "landmark": None})


def with_landmark(spec: ProxySpec, at: float) -> ProxySpec:
    """The same proxy to the end, which leaves behind the proxy that `stopped` would have trained."""
    return spec.model_copy(update={"landmark": stop_step(spec, at)})


def stop_step(spec: ProxySpec, at: float) -> int:
    """The step after which a proxy is stopped."""
    return max(1, round(at * spec.training.steps(spec.model.context)))


def pilot_keys(mixtures: Sequence[str], first: set[str], pilots: int) -> list[str]:
    """Mixtures whose proxies are trained to the end: all of ``first``, then others in order up to ``pilots``."""
    rest = [key for key in mixtures if key not in first]
    return [key for key in mixtures if key in first | set(rest[: max(pilots - len(first), 0)])]


def as_trained(spec: ProxySpec, at: float | None) -> ProxySpec:
    """The proxy as it was trained: to the end if that is there, else stopped if that is, else to the end."""
    if at is None or spec.output.is_dir():
        return spec
    early = stopped(spec, at)
    return early if early.output.is_dir() else spec
