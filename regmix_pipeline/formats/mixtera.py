"""torchtitan through Mixtera: a static mixture over one property of the samples."""

from __future__ import annotations

import json
import math

from regmix_pipeline.errors import StudyError
from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format

SCHEDULE = '''

PHASES = {phases}
"""Tokens and weights of the phases, in order; WEIGHTS above are the last one's."""


def schedule(chunk_size, tokens_per_step, strict=False):
    """All phases as `QueryExecutionArgs(mixture=...)` takes them; each begins at the step of its first token."""
    from mixtera.core.query.mixture.mixture_schedule import MixtureSchedule, ScheduleEntry

    entries, before = [], 0
    for phase in PHASES:
        keys = {MixtureKey({PROPERTY: [value]}): weight for value, weight in phase["weights"].items()}
        mixture = StaticMixture(chunk_size=chunk_size, mixture=keys, strict=strict)
        entries.append(ScheduleEntry(round(before / tokens_per_step), mixture))
        before += phase["tokens"]
    return MixtureSchedule(chunk_size, entries)
'''

MODULE = '''
from mixtera.core.query.mixture import MixtureKey, StaticMixture

PROPERTY = {property}
WEIGHTS = {weights}
SMALLEST_CHUNK = {smallest}


def mixture(chunk_size, strict=False):
    """The mixture as `QueryExecutionArgs(mixture=...)` takes it, in chunks of ``chunk_size`` samples."""
    if chunk_size < SMALLEST_CHUNK:
        raise ValueError(f"chunks of {chunk_size} samples round a domain away: take {SMALLEST_CHUNK} or more")
    keys = {MixtureKey({PROPERTY: [value]}): weight for value, weight in WEIGHTS.items()}
    return StaticMixture(chunk_size=chunk_size, mixture=keys, strict=strict)
'''


def mixtera(export: Export) -> dict[str, str]:
    """A Python module that makes a StaticMixture; the fork of torchtitan takes its mixture in code, not from a file.

    StaticMixture normalises its shares and turns them into whole samples of a chunk by largest remainder, so a chunk
    has to be large enough for the smallest domain. Which property holds the domain, and by which value, the template
    says: ``pile_set_name:{domain}``; without one it is ``domain:{domain}``.

    Raises:
        StudyError: the template has no property.
    """
    addresses = {domain: data.address for domain, data in export.data.items()}
    properties, names = set(), {}
    for domain, address in addresses.items():
        name, colon, value = address.rpartition(":")
        properties.add(name if colon else "domain")
        names[domain] = value
    values = {names[domain]: weight for domain, weight in export.weights.items()}
    if len(properties) != 1 or not all([*properties, *values]) or any("/" in value for value in names.values()):
        raise StudyError(
            "for Mixtera --data names the property that holds a sample's domain",
            where="--data",
            remedy="give PROPERTY:VALUE with {domain} in the value, for instance 'pile_set_name:{domain}'",
        )
    comment = export.comment(
        'Weights are shares of tokens where Mixtera reads chunks with chunk_reading_mixture_type="token", as its fork '
        'of torchtitan does; with "simple" and "window" they are shares of samples.',
        "In torchtitan-mixtera, give mixture(chunk_size) to QueryExecutionArgs in torchtitan/train.py.",
    )
    body = (
        MODULE.replace("{property}", json.dumps(properties.pop()))
        .replace("{weights}", json.dumps(values, indent=4, ensure_ascii=False))
        .replace("{smallest}", str(math.ceil(1 / min(values.values()))))
    )
    if export.earlier:
        phases = [
            {"tokens": tokens, "weights": {names[domain]: weight for domain, weight in weights.items()}}
            for tokens, weights in [
                *((phase.tokens, phase.weights) for phase in export.earlier),
                (export.budget, export.weights),
            ]
        ]
        body += SCHEDULE.replace("{phases}", json.dumps(phases, indent=4, ensure_ascii=False))
    return {"": comment + body}


MIXTERA = Format(
    mixtera,
    ".py",
    "nothing",
    schedule=True,
    phases="changes from phase to phase by the module's schedule(chunk_size, tokens_per_step); mixture(chunk_size) is "
    "the last phase alone",
)
