"""The list of mixtures made last. What was drawn stays: limits change what may be chosen, not what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from regmix_pipeline.files import read_json
from regmix_pipeline.lab import Lab
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture


@dataclass(frozen=True)
class ListBefore:
    """The list made last, with its domains called as they are today.

    Attributes:
        sampler: id of the sampler's settings that drew it; "" when there is none.
        draw: the study's `mixtures.draw` of then.
        domains: of the study then.
        arrived: domains that came after the first draw.
        anchors: name -> mixture.
        listed: (origin, mixture) in order.
        drawn_under: mixture id -> version of the inventory whose caps held for the draw; None where none did.
    """

    sampler: str = ""
    draw: int = 0
    domains: tuple[str, ...] = ()
    arrived: tuple[str, ...] = ()
    anchors: Mapping[str, Mixture] = field(default_factory=dict)
    listed: tuple[tuple[str, Mixture], ...] = ()
    drawn_under: Mapping[str, str | None] = field(default_factory=dict)

    def kept(self, origin: str, domains: Collection[str], redrawn: Limits | None) -> list[Mixture]:
        """Mixtures of an origin that are still points over ``domains``, in order.

        They stay when the prior or the limits move, since any point of the simplex is evidence; ``redrawn`` are limits
        that they must keep because the user asks for another draw.
        """
        return [
            mixture
            for each, mixture in self.listed
            if each == origin
            and set(mixture.weights) <= set(domains)
            and (redrawn is None or redrawn.allow(mixture.vector(redrawn.domains)))
        ]

    def anchors_kept(self, domains: Collection[str], draw: int, today: Mapping[str, Mixture]) -> dict[str, Mixture]:
        """Today's anchors by name; those drawn before stay as they are while the domains and the draw are the same.

        The natural mixture under today's limits is what a decision is compared with, and is predicted for that.
        """
        if set(domains) != set(self.domains) or draw != self.draw:
            return dict(today)
        return {name: self.anchors.get(name, mixture) for name, mixture in today.items()}


def list_before(lab: Lab) -> ListBefore:
    """The list made last, even if a failed check has withdrawn it since."""
    record = lab.records.latest("mixtures")
    if record is None or not (lab.home / record.files[0]).exists():
        return ListBefore()
    content: dict[str, Any] = read_json(lab.home / record.files[0])
    names = lab.renamed
    entries = [(entry, Mixture.of(entry["parts"]).renamed(names)) for entry in content["mixtures"]]
    return ListBefore(
        content["sampler"],
        content["draw"],
        tuple(str(names.get(name, name)) for name in record.settings["domains"]),
        tuple(str(names.get(name, name)) for name in content["arrived"]),
        {_anchor(name, names): Mixture.of(parts).renamed(names) for name, parts in content["anchors"].items()},
        tuple((_anchor(entry["origin"], names), mixture) for entry, mixture in entries),
        {mixture.id: entry["drawn_under"] for entry, mixture in entries},
    )


def _anchor(origin: str, names: Mapping[str, str]) -> str:
    """An anchor's name today: those of single domains carry the domain's."""
    former = origin.removeprefix("only_")
    return origin if former == origin else f"only_{names.get(former, former)}"
