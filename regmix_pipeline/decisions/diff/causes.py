"""What a decision followed from, cause by cause, and the search repeated with causes taken from two decisions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.decisions.evidence import Evidence, inventory_settings
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.limits import Limits, availability_caps
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import of_phases
from regmix_pipeline.regression.signal import weighed_objective
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.optimiser import optimise
from regmix_pipeline.search.region import Region, natural_inside, rounded_inside
from regmix_pipeline.search.simulation import simulate
from regmix_pipeline.study.coordinates import domains_of
from regmix_pipeline.study.phases_of_decision import chosen_together
from regmix_pipeline.study.settings.proxies import NoiseSettings
from regmix_pipeline.study.settings.search import SearchSettings

Array = NDArray[np.float64]
CAUSES = ("evidence", "inventory", "limits", "objective", "search")
"""evidence: regressors and noise floor. inventory: tokens available and natural distribution. limits: caps, floors and
tokens of the large run as asked, groups, divergence, trust radius, guardrails. objective: targets as asked and how they
are weighed. search: method, its numbers and its seed."""
LIMITING = ("groups", "max_divergence", "trust_radius", "guardrails")
"""Settings of the search that are limits."""
WEIGHING = ("objective",)
"""Settings of the search that are part of the objective."""


def content_of(evidence: Evidence) -> dict[str, Any]:
    """Cause -> what it was in a decision, JSON-able: causes of equal content moved nothing."""
    search = evidence.settings.model_dump(mode="json")
    rows = {name: row for name, row in evidence.inventory.items() if row["role"] == "domain"}
    asked = inventory_settings(evidence.counted)
    settings = evidence.searched.settings
    return {
        "evidence": {"regressor": evidence.regressor.version},
        "inventory": {name: [row["available_tokens"], row["prior"]] for name, row in rows.items()},
        "limits": {
            **evidence.counted.settings["limits"],
            "own epochs": evidence.counted.settings.get("max_epochs", {}),
            "tokens before": evidence.counted.settings.get("tokens_before", {}),
            "domains": {name: asked[name][:2] for name in rows},
            **{name: search[name] for name in LIMITING},
        },
        "objective": {
            "targets": settings["objective"],
            "downweight": settings["downweight"],
            "weight_by_signal": settings.get("weight_by_signal", False),
            **{name: search[name] for name in WEIGHING},
        },
        "search": {
            "seed": evidence.seed,
            **{name: value for name, value in search.items() if name not in (*LIMITING, *WEIGHING)},
        },
    }


@dataclass
class Replay:
    """Searches with every cause taken from one of two decisions.

    Attributes:
        sides: the evidence of both, "a" and "b".
        method: None repeats each decision's own method; "optimiser" replaces it and takes a second.
        domains: the union of both decisions' domains: columns of every answer.
        loosened: what had to be loosened where limits of one and tokens of the other left no mixture.
        searches: searches made so far; equal ones are made once.
    """

    sides: Mapping[str, Evidence]
    method: str | None = None
    loosened: set[str] = field(default_factory=set)
    searches: int = 0

    def __post_init__(self) -> None:
        self.contents = {side: content_of(evidence) for side, evidence in self.sides.items()}
        self.domains = tuple(dict.fromkeys(name for each in self.sides.values() for name in each.domains))
        self._known: dict[str, tuple[Array, float]] = {}

    @property
    def changed(self) -> list[str]:
        """Causes that differ."""
        return [cause for cause in CAUSES if self.contents["a"][cause] != self.contents["b"][cause]]

    def answer(self, of_b: Iterable[str]) -> tuple[Array, float]:
        """Weights over `domains`, and the predicted gain over natural in nats per token, with the causes ``of_b`` taken
        from b and all others from a. Where the evidence or the inventory does not know a domain, it weighs nothing."""
        chosen = set(of_b)
        side = {cause: "b" if cause in chosen else "a" for cause in CAUSES}
        evidence = self.sides[side["evidence"]]
        inventory, asked, wanted, search = (self.contents[side[cause]][cause] for cause in CAUSES[1:])
        limits, prior = self._limits(domains_of(evidence.domains), inventory, asked)
        prior, limits = of_phases(prior, limits, chosen_together(evidence.decision))
        settings = SearchSettings.model_validate(
            {name: value for name, value in search.items() if name != "seed"}
            | {name: asked[name] for name in LIMITING}
            | {"groups": _of_known(asked["groups"], "domains", (*evidence.domains, *domains_of(evidence.domains)))}
            | {"guardrails": _of_known(asked["guardrails"], "targets", evidence.fitted.targets)}
            | {name: wanted[name] for name in WEIGHING}
            | ({"method": self.method} if self.method else {})
        )
        weighing = NoiseSettings(downweight=wanted["downweight"], weight_by_signal=wanted["weight_by_signal"])
        targets = {name: share for name, share in wanted["targets"].items() if name in evidence.fitted.targets}
        if not targets:
            # Evidence that never measured what is asked for: its own objective is all it can speak of.
            targets, self.loosened = evidence.searched.settings["objective"], self.loosened | {"objective"}
        shares, _ = weighed_objective(targets, evidence.noise, weighing)
        key = fingerprint(
            evidence.regressor.version,
            limits.caps.tolist(),
            limits.floors.tolist(),
            prior.tolist(),
            shares,
            settings.model_dump(mode="json"),
            search["seed"],
        )
        if key not in self._known:
            self.searches += 1
            weights, gain = self._searched(evidence, limits, prior, shares, settings, search["seed"])
            spread = dict(zip(evidence.domains, weights, strict=True))
            self._known[key] = np.array([spread.get(name, 0.0) for name in self.domains]), gain
        return self._known[key]

    def _limits(
        self, domains: tuple[str, ...], inventory: Mapping[str, Any], asked: Mapping[str, Any]
    ) -> tuple[Limits, Array]:
        """Limits and natural distribution over the evidence's domains, loosened as far as a mixture needs it."""
        tokens = [inventory.get(name, (0, 0))[0] for name in domains]
        own = [asked["domains"].get(name, (None, 0.0)) for name in domains]
        caps = availability_caps(
            [math.inf if each is None else each for each in tokens],
            asked["target_tokens"],
            [asked["own epochs"].get(name, asked["max_epochs"]) for name in domains],
            [cap for cap, _ in own],
            [asked["tokens before"].get(name, 0) for name in domains],
        )
        there = np.array([name in inventory for name in domains])
        caps = np.where(there, caps, 0.0)
        floors = np.where(there, [floor for _, floor in own], 0.0)
        prior = np.array([inventory[name][1] if name in inventory else 0.0 for name in domains])
        if caps.sum() < 1:
            self.loosened.add("caps")
            caps = caps if caps.sum() > 0 else np.ones_like(caps)
            caps = np.minimum(caps / caps.sum() + 2e-6, 1.0)  # slightly more, as limits are whole parts per million
        if (floors > caps).any() or floors.sum() > 1:
            self.loosened.add("floors")
            floors = np.minimum(floors, caps) / max(np.minimum(floors, caps).sum(), 1.0)
        prior = prior if prior.sum() > 0 else np.ones(len(domains))
        return Limits(domains, caps, floors), prior / prior.sum()

    def _searched(
        self,
        evidence: Evidence,
        limits: Limits,
        prior: Array,
        shares: Mapping[str, float],
        settings: SearchSettings,
        seed: int,
    ) -> tuple[Array, float]:
        natural = natural_inside(prior, limits).vector(limits.domains)
        objective = Objective.of(evidence.fitted, shares, natural, settings)
        try:
            weights = _best(objective, limits, prior, settings, seed)
        except MixtureError:
            self.loosened.add("groups, divergence, trust radius and guardrails")
            free = {"groups": (), "max_divergence": None, "trust_radius": None, "guardrails": ()}
            without = replace(objective, guardrails=None)
            weights = _best(without, limits, prior, settings.model_copy(update=free), seed)
        chosen: Mixture = rounded_inside(weights, limits)
        at = chosen.vector(limits.domains)
        value = evidence.fitted.objective(np.array([natural, at]), shares)
        return at, float(value[0] - value[1])


def _best(objective: Objective, limits: Limits, prior: Array, settings: SearchSettings, seed: int) -> Array:
    region = Region.of(limits, prior, objective.fitted.weights, settings)
    if settings.method == "optimiser":
        return optimise(objective, region, settings, seed, lambda line: None).weights
    return simulate(objective, region, settings, seed, lambda line: None).mean


def _of_known(limits: Sequence[Mapping[str, Any]], what: str, known: tuple[str, ...]) -> list[dict[str, Any]]:
    """Groups or guardrails without the domains or targets that the evidence does not know; those of all stay."""
    kept = [dict(each) | {what: [name for name in each[what] if name in known]} for each in limits]
    return [now for each, now in zip(limits, kept, strict=True) if now[what] or not each[what]]
