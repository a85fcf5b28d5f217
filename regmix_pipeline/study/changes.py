"""What became of domains: named operations of the study file, and which earlier evidence stays valid under each.

A run is a point of a simplex whose corners are the domains of its day. Each operation says how that point reads today:

- arrival: nothing changes; the run's weight of the new domain is zero, which is true.
- withdrawal (the domain is no longer listed): below a tolerance the weight is left out and the rest made to sum to 1.
  Above it the run stays a point of the larger simplex: the withdrawn domain is a coordinate of the regression, and no
  mixture searched may use it. `withdraw` with `evidence: drop` forbids that.
- split: the run drew the old domain whole, so it drew each part in proportion to its share of the old tokens. Exact.
- merge: a run is evidence for the merged domain only if it drew the old ones in their shares, within the tolerance.
- rename: the same documents under another name. The run reads in the new name, exactly, and stays a run of today.
- revision: documents of a domain changed but their nature did not. The run stays as it is; without this word a run
  that drew on the old documents does not count, and a proxy of its mixture is trained again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from regmix_pipeline.study.settings.base import Settings

OPERATIONS = ("split", "merge", "withdraw", "rename", "revise")


class Change(Settings):
    """One thing that became of domains; give exactly one of split, merge, withdraw, rename, revise."""

    split: str | None = None
    """A domain that became several, named in `into` with their shares of its tokens."""
    merge: dict[str, float] | None = None
    """Domains that became one, `into_one`, with their shares of its tokens."""
    withdraw: str | None = None
    """A domain that is gone, to say what becomes of the evidence that drew on it."""
    rename: str | None = None
    """A domain that is called `to` now, its documents being the same: nothing is tokenised or trained again."""
    to: str | None = None
    """The new name of a renamed domain."""
    revise: str | None = None
    """A domain whose documents changed and whose nature did not: earlier runs on it stay valid."""
    into: dict[str, float] = Field(default_factory=dict)
    """Parts of a split domain and their shares, summing to 1."""
    into_one: str | None = None
    """The domain that merged ones became."""
    evidence: Literal["keep", "drop"] = "keep"
    """With withdraw: whether runs that drew on the domain beyond the tolerance count. They keep its weight as a
    coordinate of the regression, at zero in every mixture searched."""

    @model_validator(mode="after")
    def _one_operation(self) -> Change:
        named = [name for name in OPERATIONS if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"give exactly one of {', '.join(OPERATIONS)}, not {named or 'none'}")
        if (self.rename is not None) != (self.to is not None) or (self.rename is not None and self.rename == self.to):
            raise ValueError("rename goes with to, the new name")
        if (self.split is not None) != bool(self.into) or (self.merge is not None) != (self.into_one is not None):
            raise ValueError("split goes with into, merge with into_one")
        shares = self.into or self.merge or {"whole": 1.0}
        if min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-3:
            raise ValueError(f"the shares {shares} must be positive and sum to 1")
        if (self.into or self.merge) and len(shares) < 2:
            raise ValueError("name two domains at least")
        return self

    @property
    def operation(self) -> str:
        """split, merge, withdraw, rename or revise."""
        return next(name for name in OPERATIONS if getattr(self, name) is not None)

    @property
    def gone(self) -> set[str]:
        """Domains that the study no longer has after it."""
        return {self.split, self.withdraw, self.rename} - {None} | set(self.merge or ())  # type: ignore[return-value]

    @property
    def made(self) -> set[str]:
        """Domains that the study must have after it."""
        return set(self.into) | {self.into_one, self.to, self.revise} - {None}  # type: ignore[return-value]


def names_today(changes: Sequence[Change]) -> dict[str, str]:
    """Former name -> name today of every domain that was renamed, in however many steps."""
    found: dict[str, str] = {}
    for change in changes:
        if change.rename is not None and change.to is not None:
            found = {former: change.to if name == change.rename else name for former, name in found.items()}
            found[change.rename] = change.to
    return found


@dataclass(frozen=True)
class Reading:
    """How an earlier run reads today.

    Attributes:
        weights: domain -> weight, summing to 1; former domains among them where the run stays in the larger simplex.
        rules: what was applied, in words, in order.
        refused: why the run is not evidence any more; "" when it is.
    """

    weights: Mapping[str, float]
    rules: tuple[str, ...] = ()
    refused: str = ""


def read_today(
    weights: Mapping[str, float], changes: Sequence[Change], domains: Collection[str], tolerance: float
) -> Reading:
    """An earlier run's mixture in terms of today's domains.

    Args:
        weights: domain of its day -> weight, summing to 1.
        changes: in the order in which they happened.
        domains: of the study now.
        tolerance: weight that may be left out, or be off a merge's shares.
    """
    now = {name: weight for name, weight in weights.items() if weight > 0}
    rules: list[str] = []
    for change in changes:
        if change.split is not None and change.split in now:
            whole = now.pop(change.split)
            for name, share in change.into.items():
                now[name] = now.get(name, 0.0) + whole * share / sum(change.into.values())
            rules.append(f"split of {change.split}")
        elif change.rename is not None and change.rename in now:
            assert change.to is not None
            now[change.to] = now.get(change.to, 0.0) + now.pop(change.rename)
            rules.append(f"rename of {change.rename} to {change.to}")
        elif change.merge is not None and set(change.merge) & set(now):
            total = sum(now.get(name, 0.0) for name in change.merge)
            off = max(abs(now.get(name, 0.0) - share * total) for name, share in change.merge.items())
            if off > tolerance:
                why = f"merge into {change.into_one}: its weights are {off:.1%} off the shares"
                return Reading(now, tuple(rules), why)
            for name in change.merge:
                now.pop(name, None)
            assert change.into_one is not None
            now[change.into_one] = now.get(change.into_one, 0.0) + total
            rules.append(f"merge into {change.into_one}")
    gone = {name: weight for name, weight in now.items() if name not in domains}
    dropped = {change.withdraw for change in changes if change.withdraw and change.evidence == "drop"}
    lost = sum(gone.values())
    banned = {name: weight for name, weight in gone.items() if name in dropped}
    if sum(banned.values()) > tolerance:
        why = f"withdrawal of {', '.join(sorted(banned))}: it drew {sum(banned.values()):.1%} on it"
        return Reading(now, tuple(rules), why)
    if gone and lost <= tolerance:
        now = {name: weight / (1 - lost) for name, weight in now.items() if name not in gone}
        rules.append(f"withdrawal of {', '.join(sorted(gone))}: {lost:.2%} left out")
    elif gone:
        rules.append(f"withdrawal of {', '.join(sorted(gone))}: kept as a coordinate")
    return Reading(now, tuple(rules))
