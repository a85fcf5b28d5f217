"""The lists of mixtures made so far, and what the next one takes over from them.

What was drawn stays: limits change what may be chosen, not what was measured. What is taken over is part of the recipe,
so that equal recipes give equal lists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regmix_pipeline.engine.records import Recipe, Record
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import read_json, sha256_of
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.rounds import round_sizes
from regmix_pipeline.study.phases import phase_parts

TAKEN_OVER = "kept"
"""Name of the recipe's setting that says what is taken over."""


@dataclass(frozen=True)
class PreviousList:
    """A list made before, with its domains called as they are today.

    Attributes:
        sampler: id of the sampler's settings that drew it.
        draw: the study's `mixtures.draw` of then.
        domains: of the study then.
        arrived: domains that came after the first draw.
        anchors: name -> mixture.
        listed: (origin, mixture) in order.
        drawn_under: mixture id -> version of the inventory whose caps held for the draw; None where none did.
    """

    sampler: str
    draw: int
    domains: tuple[str, ...]
    arrived: tuple[str, ...]
    anchors: Mapping[str, Mixture]
    listed: tuple[tuple[str, Mixture], ...]
    drawn_under: Mapping[str, str | None]

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

    def anchors_kept(self, domains: Collection[str], draw: int) -> Mapping[str, Mixture]:
        """Anchors by name: those drawn before stay as they are while the domains and the draw are the same.

        The natural mixture under today's limits is what a decision is compared with, and is predicted for that.
        """
        return self.anchors if set(domains) == set(self.domains) and draw == self.draw else {}

    @property
    def mixtures(self) -> dict[str, Mixture]:
        """Id -> mixture of all that it lists, anchors too."""
        return {mixture.id: mixture for mixture in (*(each for _, each in self.listed), *self.anchors.values())}


def lists_before(workspace: Workspace) -> Iterator[PreviousList]:
    """Every list made so far whose file is as it was written, the last one first, withdrawn ones too."""
    seen = set()
    for record in _records(workspace):
        name, path = record.files[0], workspace.home / record.files[0]
        if name not in seen and path.is_file() and record.sums.get(name) in (None, sha256_of(path)):
            yield _list_of(workspace, record, read_json(path))
        seen.add(name)


def _records(workspace: Workspace) -> Iterator[Record]:
    """Records of all lists, the last one first; it comes twice."""
    latest = workspace.records.latest("mixtures")
    if latest is not None:
        yield latest
        yield from reversed(workspace.records.history("mixtures"))


def _list_of(workspace: Workspace, record: Record, content: Mapping[str, Any]) -> PreviousList:
    names = workspace.renamed
    parts = phase_parts(workspace.study)
    every = ((entry, Mixture.of(entry["parts"]).renamed(names)) for entry in content["mixtures"])
    entries = [(entry, mixture) for entry, mixture in every if mixture.has_phases(parts)]
    anchors = {_anchor(name, names): Mixture.of(held).renamed(names) for name, held in content["anchors"].items()}
    return PreviousList(
        content["sampler"],
        content["draw"],
        tuple(str(names.get(name, name)) for name in record.settings["domains"]),
        tuple(str(names.get(name, name)) for name in content["arrived"]),
        {name: mixture for name, mixture in anchors.items() if mixture.has_phases(parts)},
        tuple((_anchor(entry["origin"], names), mixture) for entry, mixture in entries),
        {mixture.id: entry["drawn_under"] for entry, mixture in entries},
    )


def _anchor(origin: str, names: Mapping[str, str]) -> str:
    """An anchor's name today: those of single domains carry the domain's."""
    former = origin.removeprefix("only_")
    return origin if former == origin else f"only_{names.get(former, former)}"


def taken_over(
    workspace: Workspace, recipe: Recipe, limits: Callable[[], Limits], sampler: str, adopted: Collection[str]
) -> dict[str, Any]:
    """What the next list takes over from those before it, JSON-able.

    A list that was made from the same ``recipe`` before took over the same: so a list is not stale because it was made,
    and settings that come back bring back their list. Otherwise all that was drawn by the same sampler and still is a
    point over today's domains is kept: that of the last list in its order, then that of older ones, which also has to
    keep today's limits where the study asks for it, up to the study's count.

    Args:
        workspace: the study on disk.
        recipe: of the next list, but for what it takes over.
        limits: gives today's.
        sampler: id of today's sampler.
        adopted: ids of mixtures that are listed anyway.

    Returns:
        sampled and arrival: pairs (id, version of the inventory whose caps held for the draw); anchors: name -> id;
        arrived: domains that came after the first draw.
    """
    for record in _made_alike(workspace, recipe):
        return dict(record.settings[TAKEN_OVER])
    lists = lists_before(workspace)
    last, settings, domains = next(lists, None), workspace.study.mixtures, workspace.coordinates
    found: dict[str, Any] = {"sampled": [], "arrival": [], "anchors": {}, "arrived": []}
    if last is None:
        return found
    came = set(domains) - set(last.domains) | set(last.arrived)
    found["arrived"] = [domain for domain in domains if domain in came]
    if not workspace.study.trains:
        return found
    anchors = last.anchors_kept(domains, settings.draw)
    found["anchors"] = {name: mixture.id for name, mixture in anchors.items()}
    if last.sampler == sampler:
        redrawn = limits() if settings.draw != last.draw and settings.under_caps else None
        for origin in ("sampled", "arrival"):
            kept = last.kept(origin, domains, redrawn)
            found[origin] = [[mixture.id, last.drawn_under.get(mixture.id)] for mixture in kept]
    besides = {*adopted, *found["anchors"].values(), *(key for key, _ in found["sampled"] + found["arrival"])}
    lacking = round_sizes(workspace.study)[0] - len(found["sampled"])
    if lacking > 0:
        older = (each for each in lists if each.sampler == sampler)
        back = _drawn_before(older, domains, limits() if settings.under_caps else None, besides)
        found["sampled"] += back[:lacking]
    found["sampled"] = found["sampled"][: settings.count]
    return found


def _made_alike(workspace: Workspace, recipe: Recipe) -> Iterator[Record]:
    """Records of lists that were made from the same recipe but for what they took over, the last one first, and whose
    file is there."""
    for record in _records(workspace):
        rest = {name: value for name, value in record.settings.items() if name != TAKEN_OVER}
        alike = TAKEN_OVER in record.settings and Recipe(record.inputs, rest).id == recipe.id
        if alike and workspace.records.is_saved(record) and (workspace.home / record.files[0]).is_file():
            yield record


def _drawn_before(
    lists: Iterable[PreviousList], domains: Collection[str], limits: Limits | None, besides: Collection[str]
) -> list[list[str | None]]:
    """Pairs (id, drawn under) of what the sampler drew for older lists, such as those of a domain that went and came
    back; sorted by id. They replace new draws, so ``limits`` hold for them."""
    found: dict[str, str | None] = {}
    for each in lists:
        drawn = [mixture for origin in ("sampled", "arrival") for mixture in each.kept(origin, domains, limits)]
        found = {mixture.id: each.drawn_under.get(mixture.id) for mixture in drawn} | found
    return [[key, found[key]] for key in sorted(found) if key not in besides]
