"""Stage 4, mixtures: which points of the simplex the proxies are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab, Output, Stage
from regmix_pipeline.ledger.records import WHOLE, Recipe
from regmix_pipeline.mixtures.anchors import anchor_mixtures
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.sampler import sample

CODE_VERSION = "1"


def prior_and_limits(lab: Lab) -> tuple[NDArray[np.float64], Limits]:
    """The natural distribution, shape (d,), and the limits over the study's domains, from the inventory."""
    rows = {row["source"]: row for row in lab.json("domain_inventory")["sources"] if row["role"] == "domain"}
    domains = tuple(lab.domains)
    prior = np.array([rows[name]["prior"] for name in domains])
    caps = np.array([rows[name]["cap"] for name in domains])
    floors = np.array([rows[name]["floor"] for name in domains])
    return prior, Limits(domains, caps, floors)


def current_mixtures(lab: Lab) -> dict[str, Mixture]:
    """Id -> mixture, in order: the ones that proxies are trained on now."""
    entries = lab.json("mixtures")["mixtures"]
    return {entry["id"]: Mixture.of(entry["parts"]) for entry in entries}


def sampled_mixtures(lab: Lab) -> list[str]:
    """Ids of the current mixtures that were sampled, anchors left out, in order."""
    return [entry["id"] for entry in lab.json("mixtures")["mixtures"] if entry["origin"] == "sampled"]


def _wanted(lab: Lab) -> dict[str, Recipe]:
    settings = {
        "mixtures": lab.study.mixtures.model_dump(mode="json"),
        "seed": lab.study.seed,
        "domains": lab.domains,
        "code": CODE_VERSION,
    }
    return {WHOLE: Recipe(lab.versions("domain_inventory"), settings)}


def _kept(lab: Lab, limits: Limits) -> list[dict[str, Any]]:
    """Mixtures sampled earlier that are still points of this study: what was paid for is not thrown away.

    They stay when the prior moves, since any point of the simplex is evidence; they go when a domain is withdrawn, when
    they break a cap, or when the sampler's own settings or the seed changed.
    """
    record = lab.records.current("mixtures")
    if record is None or not (lab.home / record.files[0]).exists():
        return []
    old = lab.json("mixtures")
    settings = lab.study.mixtures
    if old["sampler"] != _sampler_id(lab):
        return []
    kept = []
    for entry in old["mixtures"]:
        known = set(entry["parts"]) <= set(lab.domains)
        if entry["origin"] != "sampled" or not known:
            continue
        vector = Mixture.of(entry["parts"]).vector(lab.domains)
        if not settings.under_caps or limits.allow(vector):
            kept.append(entry)
    return kept[: settings.count]


def _sampler_id(lab: Lab) -> str:
    settings = lab.study.mixtures.model_dump(mode="json", exclude={"count", "anchors"})
    return fingerprint(settings, lab.study.seed, CODE_VERSION)


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    prior, limits = prior_and_limits(lab)
    settings = lab.study.mixtures
    kept, sampled, named = [], [], {}
    if lab.study.trains:
        kept = [Mixture.of(entry["parts"]) for entry in _kept(lab, limits)]
        sampled = sample(prior, limits, settings, lab.study.seed, kept)
        named = anchor_mixtures(prior, limits, settings.anchors)
    origins = {mixture.id: "sampled" for mixture in sampled}
    mixtures = {mixture.id: mixture for mixture in sampled}
    for name, mixture in named.items():
        origins.setdefault(mixture.id, name)
        mixtures.setdefault(mixture.id, mixture)
    entries = [{"id": key, "origin": origins[key], "parts": dict(mixture.parts)} for key, mixture in mixtures.items()]
    version = fingerprint("mixtures", entries)
    path = lab.write_json({"sampler": _sampler_id(lab), "mixtures": entries}, "mixtures", f"{version}.json")
    rows = [
        {
            "mixture": key,
            "position": position,
            "origin": origins[key],
            "domain": domain,
            "weight": float(weight),
        }
        for position, (key, mixture) in enumerate(mixtures.items())
        for domain, weight in zip(lab.domains, mixture.vector(lab.domains), strict=True)
    ]
    lab.write_rows("mixtures", version, rows)
    facts = {
        "mixtures": len(entries),
        "sampled": len(sampled),
        "anchors": len(entries) - len(sampled),
        "kept from before": len(kept),
        "new": len(sampled) - len(kept),
    }
    yield Output(WHOLE, version, facts, [path])


MIXTURES = Stage("mixtures", ("domain_inventory",), None, CODE_VERSION, _wanted, _make)
