"""Limits on the weights of phases that are chosen at once: what each phase weighs, and what all draw of a domain.

Weights are ``<phase>/<domain>`` in the order of phases, and in each of domains: a table of P rows and k columns. Its
rows sum to what the phases weigh, and its columns lie between the floors and caps of domains: a transportation problem,
whose bounds in whole parts have whole solutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.study.coordinates import domains_of, phase_of

Array = NDArray[np.float64]
ROUNDS, TURNS = 20, 10
"""Rounds of turns over phases and domains that bring a mixture inside, at most."""
HALVINGS = 64
CLOSE = 1e-10
"""What counts as kept in a sum of weights while they are brought inside."""
TINY = 1e-12


@dataclass(frozen=True)
class Together:
    """Phases that are chosen at once, and what they may draw of each domain together.

    Attributes:
        parts: phase -> what its weights sum to, in parts per million.
        domains: names, length k.
        caps: highest sum of a domain's weights over the phases, (k,).
        floors: lowest, (k,).
    """

    parts: Mapping[str, int]
    domains: tuple[str, ...]
    caps: Array
    floors: Array

    @classmethod
    def of(cls, names: Sequence[str], parts: Mapping[str, int], caps: Array, floors: Array) -> Together:
        """Of weights' names, which have to be all domains in each phase in order; caps and floors by domain, (k,).

        Raises:
            MixtureError: they are not.
        """
        domains = domains_of(names)
        if [phase_of(name) for name in names] != [phase for phase in parts for _ in domains]:
            raise MixtureError("weights are not all domains in every phase", where=str(list(names)))
        return cls(parts, domains, *whole_parts(caps, floors))

    @property
    def shares(self) -> Array:
        """What the weights of each phase sum to, (P,)."""
        return np.array([part / PARTS for part in self.parts.values()])

    def table(self, weights: Array) -> Array:
        """Weights (..., d) by phase and domain, (..., P, k)."""
        return weights.reshape(*weights.shape[:-1], len(self.parts), len(self.domains))

    def columns_of(self, domain: str) -> NDArray[np.int_]:
        """Numbers of the weights of a domain, (P,)."""
        return np.arange(len(self.parts)) * len(self.domains) + self.domains.index(domain)

    def with_bounds(self, caps: Array, floors: Array) -> Together:
        """The same phases with other bounds of domains."""
        return replace(self, **dict(zip(("caps", "floors"), whole_parts(caps, floors), strict=True)))

    def allow(self, weights: Array, tolerance: float) -> NDArray[np.bool_]:
        """Which rows (m, d) have the phases' sums, and domains within their bounds, (m,)."""
        table = self.table(weights)
        together, room = table.sum(axis=-2), tolerance * max(table.shape[-2:])
        phases = (np.abs(table.sum(axis=-1) - self.shares) <= room).all(axis=-1)
        return phases & ((together <= self.caps + room) & (together >= self.floors - room)).all(axis=-1)

    def matrices(self) -> tuple[Array, Array]:
        """Which weights a phase's sum has, (P, d), and a domain's, (k, d)."""
        p, k = len(self.parts), len(self.domains)
        return np.repeat(np.eye(p), k, axis=1), np.tile(np.eye(k), (1, p))

    def within_phases(self, weights: Array) -> Array:
        """Each phase's weights of rows (m, d) in proportion, with the sum that the phase has; a phase of zeros is
        even."""
        table = self.table(weights) + TINY**2
        return (table / table.sum(axis=-1, keepdims=True) * self.shares[:, None]).reshape(weights.shape)


def whole_parts(caps: Array, floors: Array) -> tuple[Array, Array]:
    """Caps and floors in whole parts per million, so that a weight rounded to parts never ends a hair beyond one."""
    caps, floors = np.asarray(caps, dtype=float), np.asarray(floors, dtype=float)
    whole_caps = np.floor(caps * PARTS + 1e-6) / PARTS
    whole_floors = np.maximum(np.ceil(floors * PARTS - 1e-6), 0.0) / PARTS
    return whole_caps, np.where(floors <= caps, np.minimum(whole_floors, whole_caps), whole_floors)


def inside_together(weights: Array, caps: Array, floors: Array, together: Together) -> Array:
    """Each row's nearest mixture in KL divergence within all limits, (m, d) -> (m, d).

    w = clip(s_phase x t_domain x weights, floor, cap), where t is 1 for domains away from their bounds: s and t are
    found in turn, which is ascent in the coordinates of the dual. What is left of a domain's excess after ROUNDS is
    taken out on the straight way to a mixture in the middle of the limits.

    Raises:
        MixtureError: the limits leave no mixture.
    """
    base = together.table(np.maximum(weights, TINY * np.maximum(caps, TINY)))
    low, high = together.table(floors), together.table(caps)
    shares = together.shares[:, None]
    found = _scaled(base, low, high, shares, -1)
    over = np.flatnonzero(_excess(found, together) > CLOSE)
    if len(over):
        found[over] = _alternated(base[over], low, high, together)
        over = over[_excess(found[over], together) > CLOSE]
    if len(over):
        middle = together.table(middle_of(caps, floors, together))
        found[over] = _towards(found[over], middle, together)
    return found.reshape(weights.shape)


def _alternated(base: Array, low: Array, high: Array, together: Together) -> Array:
    """Phases and domains scaled in turn, (m, P, k)."""
    shares, most = together.shares[:, None], high
    # Where a cap follows from the sums, weights may pass it on the way: scaling is then exact in each turn.
    high = np.where(high >= np.minimum(shares, together.caps) - CLOSE, np.inf, high)
    logs = np.log(np.maximum(base, 1e-300))
    rows, columns = np.zeros((*base.shape[:-1], 1)), np.zeros((len(base), 1, base.shape[-1]))
    with np.errstate(divide="ignore"):
        cap, floor = np.log(together.caps), np.log(together.floors)
    left = np.arange(len(base))
    for _ in range(ROUNDS):
        of, row, column = logs[left], rows[left], columns[left]
        for _ in range(TURNS):
            sums = np.log(np.maximum(np.clip(np.exp(of + row + column), low, high).sum(axis=1, keepdims=True), 1e-300))
            to_cap, to_floor = np.maximum(column + cap - sums, -600.0), column + floor - sums
            column = np.minimum(np.maximum(to_floor, 0.0) + np.minimum(to_cap, 0.0), 600.0)
            sums = np.clip(np.exp(of + row + column), low, high).sum(axis=-1, keepdims=True)
            row = np.clip(row + np.log(shares) - np.log(np.maximum(sums, 1e-300)), -600.0, 600.0)
        rows[left], columns[left] = row, column
        found = np.clip(np.exp(of + row + column), low, high)
        off = np.abs(found.sum(axis=-1) - shares[:, 0]).max(axis=-1)
        left = left[np.maximum(_excess(found, together), off) > CLOSE]
        if not len(left):
            break
    return _scaled(np.exp(logs + rows + columns), low, most, shares, -1)


def _scaled(base: Array, low: Array, high: Array, total: Array, axis: int) -> Array:
    """``base`` clipped to its bounds after scaling along an axis to a sum, exact to rounding."""
    logs = np.log(np.maximum(base, 1e-300))
    least, most = -logs.max(axis=axis, keepdims=True) - 60.0, -logs.min(axis=axis, keepdims=True) + 2.0
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        short = np.clip(np.exp(logs + middle), low, high).sum(axis=axis, keepdims=True) < total[None]
        least, most = np.where(short, middle, least), np.where(short, most, middle)
    found = np.clip(np.exp(logs + most), low, high)
    found = np.where(found < 2 * TINY, np.broadcast_to(low, found.shape), found)
    # The last digits go where there is room for them.
    missing = total[None] - found.sum(axis=axis, keepdims=True)
    room = np.where(missing > 0, high - found, found - low)
    return found + missing * room / np.maximum(room.sum(axis=axis, keepdims=True), 1e-300)


def _excess(table: Array, together: Together) -> Array:
    """By how much the worst domain of each row (m, P, k) is beyond its bounds, (m,)."""
    sums = table.sum(axis=-2)
    return np.maximum(sums - together.caps, together.floors - sums).max(axis=-1)


def _towards(table: Array, middle: Array, together: Together) -> Array:
    """Rows (m, P, k) moved towards a mixture inside just as far as it takes to be inside, to within rounding."""
    sums, held = table.sum(axis=-2), middle.sum(axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(sums > together.caps, (sums - together.caps) / (sums - held), 0.0)
        below = np.where(sums < together.floors, (together.floors - sums) / (held - sums), 0.0)
    share = np.clip(np.nan_to_num(np.maximum(above, below), posinf=1.0), 0.0, 1.0).max(axis=-1)
    return table + share[:, None, None] * (middle - table)


def middle_of(caps: Array, floors: Array, together: Together) -> Array:
    """A mixture (d,) with as much room to the bounds of every domain as there is, at most a tenth of what lies between.

    Raises:
        MixtureError: the limits leave none.
    """
    from scipy.optimize import linprog

    phases, domains = together.matrices()
    # In parts per million, so that what the solver takes for zero is next to nothing of a weight.
    d, width = len(caps), np.maximum(together.caps - together.floors, 0.0)[:, None] * PARTS
    found = linprog(
        np.r_[np.zeros(d), -1.0],
        A_ub=np.block([[domains, width], [-domains, width]]),
        b_ub=np.r_[together.caps, -together.floors] * PARTS,
        A_eq=np.c_[phases, np.zeros(len(phases))],
        b_eq=together.shares * PARTS,
        bounds=[*zip(floors * PARTS, np.maximum(caps, floors) * PARTS, strict=True), (0.0, 0.1)],
        method="highs-ds",
    )
    if found.status != 0:
        raise MixtureError(
            "no mixtures of the phases respect the caps and floors of all domains together",
            where="limits",
            remedy="raise max_epochs of limits or of domains, raise caps, lower floors or add text",
        )
    return np.clip(found.x[:d] / PARTS, floors, caps)


def range_of(column: int, caps: Array, floors: Array, together: Together) -> tuple[float, float]:
    """The lowest and the highest weight in a column that all limits together allow.

    Raises:
        MixtureError: they leave no mixture.
    """
    from scipy.optimize import linprog

    phases, domains = together.matrices()
    ends = []
    for sign in (1.0, -1.0):
        found = linprog(
            sign * np.eye(len(caps))[column],
            A_ub=np.vstack([domains, -domains]),
            b_ub=np.r_[together.caps, -together.floors] * PARTS,
            A_eq=phases,
            b_eq=together.shares * PARTS,
            bounds=list(zip(floors * PARTS, caps * PARTS, strict=True)),
            method="highs-ds",
        )
        if found.status != 0:
            raise MixtureError("no mixtures of the phases respect their limits", where="limits", remedy="widen a cap")
        ends.append(float(found.x[column]) / PARTS)
    return ends[0], ends[1]


def rounded_together(weights: Array, caps: Array, floors: Array, together: Together) -> NDArray[np.int64]:
    """Whole parts per million nearest to weights (d,) that keep every limit exactly; (d,).

    The least sum of what is moved, as a linear program: its matrix is totally unimodular, so its corners are whole.

    Raises:
        MixtureError: the limits leave no mixture.
    """
    from scipy.optimize import linprog

    least, most = np.rint(floors * PARTS), np.rint(caps * PARTS)
    start = np.clip(np.floor(weights * PARTS + 1e-6), least, most)
    rest = np.clip(weights * PARTS - start, 0.0, 1.0)
    phases, domains = together.matrices()
    sums = np.fromiter(together.parts.values(), dtype=float) - phases @ start
    caps_left = np.rint(together.caps * PARTS) - domains @ start
    floors_left = np.rint(together.floors * PARTS) - domains @ start
    d, room = len(weights), most - start
    # One part up costs what it adds to the distance; further ones, and parts down, cost a whole one.
    found = linprog(
        np.r_[1 - 2 * rest, np.full(d, 1.0 + 1e-6), np.full(d, 1.0 + 1e-6)],
        A_ub=np.block([[domains, domains, -domains], [-domains, -domains, domains]]),
        b_ub=np.r_[caps_left, -floors_left],
        A_eq=np.block([phases, phases, -phases]),
        b_eq=sums,
        bounds=[
            *((0.0, min(each, 1.0)) for each in room),
            *((0.0, max(each - 1.0, 0.0)) for each in room),
            *((0.0, each) for each in start - least),
        ],
        method="highs-ds",
    )
    parts = None if found.status != 0 else np.rint(start + found.x[:d] + found.x[d : 2 * d] - found.x[2 * d :])
    if (
        parts is None
        or not together.allow(parts[None] / PARTS, 1e-9)[0]
        or (parts < least).any()
        or (parts > most).any()
    ):
        raise MixtureError(
            "no whole parts per million respect the limits of all phases together",
            where="limits",
            remedy="widen a cap or a floor",
        )
    return parts.astype(np.int64)
