"""Settings that fit the data: tokenizer, shards, mixtures, proxies and limits, each with the reason for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.study.repetition import MAX_EPOCHS
from regmix_pipeline.study.settings.proxies import EvaluationSettings, ModelSettings
from regmix_pipeline.study.settings.tokens import TokenizerSettings, TokenizerTraining
from regmix_pipeline.study_init.found import found_domains
from regmix_pipeline.study_init.sampled import Sampled, bytes_per_token, sample_of

SMALL, LARGE = 50_000_000, 10_000_000_000
"""Tokens below which the demo's proxies fit, and from which RegMix's own training does."""
MIXTURES, MIXTURES_PER_DOMAIN = 64, 8
PAPERS_MIXTURES = 512
VOCABULARIES = ((200_000_000, 4096), (5_000_000_000, 16_384))
"""Text below so many bytes -> vocabulary; above all of them 32,768."""
SAFETY = 2.0
"""How much smaller than estimated a domain's validation split may turn out."""


@dataclass(frozen=True)
class Proposed:
    """A domain with the sizes that the proposal is based on.

    Attributes:
        sample: what was found and sampled.
        bytes_per_token: of a tokenizer trained on the samples.
        usable: whether it is large enough for a validation split.
        warning: what the user must know of it; "" for nothing.
    """

    sample: Sampled
    bytes_per_token: float
    usable: bool
    warning: str

    @property
    def name(self) -> str:
        """The domain's name."""
        return self.sample.domain.name

    @property
    def tokens(self) -> int:
        """Estimated tokens of all its text."""
        return round(self.sample.text_bytes / self.bytes_per_token)

    def as_json(self) -> dict[str, Any]:
        """What was found, JSON-able."""
        sample = self.sample
        return {
            "domain": self.name,
            "source": {sample.domain.kind: sample.domain.pattern},
            "text_field": sample.text_field,
            "fields": list(sample.fields),
            "files": len(sample.domain.files),
            "disk_bytes": sample.domain.disk_bytes,
            "text_bytes": sample.text_bytes,
            "documents": sample.documents,
            "estimated_tokens": self.tokens,
            "bytes_per_token": self.bytes_per_token,
            "sizes_estimated": not sample.whole,
            "usable": self.usable,
            "warning": self.warning,
        }


@dataclass(frozen=True)
class Proposal:
    """A study for a folder of data.

    Attributes:
        name: of the study.
        domains: usable ones and those too small, sorted by name.
        targets: domains whose validation loss is minimised.
        tokens: tokens of the large run.
        tokens_given: whether a person said so.
        vocabulary: of the tokenizer to train.
        validation_fraction: of every domain.
        preset: of the proxies.
        proxy_tokens: training tokens of one proxy; None for the preset's own.
        windows_per_step: None for the preset's own.
        mixtures: to sample.
        warnings: what the user must know.
    """

    name: str
    domains: tuple[Proposed, ...]
    targets: tuple[str, ...]
    tokens: int
    tokens_given: bool
    vocabulary: int
    validation_fraction: float
    preset: str
    proxy_tokens: int | None
    windows_per_step: int | None
    mixtures: int
    warnings: tuple[str, ...]

    @property
    def usable(self) -> list[Proposed]:
        """Domains that the study has."""
        return [domain for domain in self.domains if domain.usable]

    @property
    def available(self) -> int:
        """Estimated training tokens of all usable domains."""
        return round(sum(domain.tokens for domain in self.usable) * (1 - self.validation_fraction))


def proposed(folder: Path, base: Path, name: str, target: str | None, tokens: int | None) -> Proposal:
    """Look at a folder of data and propose a study.

    Args:
        folder: of the data.
        base: folder of the study file.
        name: of the study.
        target: the domain to do well on; None for all alike.
        tokens: of the large run; None for as many as there are.

    Raises:
        DocumentError: the folder holds no two domains that can be read.
        StudyError: an unknown target, or more tokens than there are in the allowed epochs.
    """
    found, warnings = found_domains(folder, base)
    samples = {each.name: sample_of(each) for each in found}
    total_bytes = sum(sample.text_bytes for sample in samples.values())
    vocabulary = next((size for below, size in VOCABULARIES if total_bytes < below), 32_768)
    ratio = bytes_per_token(samples, TokenizerSettings(train=TokenizerTraining(vocab_size=vocabulary)))
    estimated = sum(sample.text_bytes / ratio[each] for each, sample in samples.items())
    preset = "demo" if estimated < SMALL else "regmix-1m"
    context = max(ModelSettings.preset(preset).context, ModelSettings.preset("demo-large").context)
    fraction = 0.05 if estimated < SMALL else 0.02
    domains = tuple(_judged(samples[each], ratio[each], fraction, context) for each in sorted(samples))
    warnings += [f"{domain.name}: {domain.warning}" for domain in domains if domain.warning]
    usable = [domain.name for domain in domains if domain.usable]
    _check(folder, domains, usable, target)
    available = round(sum(domain.tokens for domain in domains if domain.usable) * (1 - fraction))
    _check_tokens(tokens, available)
    proxy_tokens, windows = _proxy_training(preset, available, context)
    return Proposal(
        name,
        domains,
        (target,) if target else tuple(usable),
        tokens or _rounded(available),
        tokens is not None,
        vocabulary,
        fraction,
        preset,
        proxy_tokens,
        windows,
        PAPERS_MIXTURES if available >= LARGE else max(MIXTURES, MIXTURES_PER_DOMAIN * len(usable)),
        tuple(warnings),
    )


def _judged(sample: Sampled, ratio: float, fraction: float, context: int) -> Proposed:
    """A domain, and whether its validation split will do."""
    validation = sample.text_bytes / ratio * fraction
    documents = sample.documents * fraction
    wanted = EvaluationSettings().windows * context
    if validation < SAFETY * (2 * context + 1) or documents < 3:
        share = f"about {validation:,.0f} tokens in {documents:.0f} documents"
        why = f"too small for a validation split ({share}): left out; add text, or raise shards.validation_fraction"
        return Proposed(sample, ratio, False, why)
    few = f"its validation split holds about {validation:,.0f} tokens, fewer than the {wanted:,} of a measurement"
    return Proposed(sample, ratio, True, few if validation < wanted else "")


def _check(folder: Path, domains: Sequence[Proposed], usable: Sequence[str], target: str | None) -> None:
    if len(usable) < 2:
        small = "; ".join(f"{domain.name}: {domain.warning}" for domain in domains if not domain.usable)
        raise StudyError(
            f"fewer than two domains are large enough ({small})", where=str(folder), remedy="add text to them"
        )
    if target is not None and target not in usable:
        raise StudyError(
            f"no usable domain is called {target!r}", where="--target", remedy=f"name one of: {', '.join(usable)}"
        )


def _check_tokens(tokens: int | None, available: int) -> None:
    if tokens is not None and tokens > MAX_EPOCHS * available:
        raise StudyError(
            f"{tokens:,} tokens are more than {MAX_EPOCHS:g} epochs of the estimated {available:,} that there are",
            where="--tokens",
            remedy="give fewer tokens or more text",
        )


def _proxy_training(preset: str, available: int, context: int) -> tuple[int | None, int | None]:
    """Tokens of a proxy and windows of a step; None, None where the preset's own fit."""
    if preset == "demo" or available >= LARGE:
        return None, None
    # A tenth of the text, in about a thousand steps: many small steps do better than few large ones.
    tokens = max(available // 10, 10_000_000)
    return tokens, min(max(tokens // (1000 * context), 8), 512)


def _rounded(tokens: int) -> int:
    """Two digits of it: an estimate says no more."""
    scale = 10 ** max(len(str(tokens)) - 2, 0)
    return max(tokens // scale * scale, 1)


def as_json(proposal: Proposal) -> Mapping[str, Any]:
    """The proposal without its texts, JSON-able."""
    return {
        "name": proposal.name,
        "domains": [domain.as_json() for domain in proposal.domains],
        "targets": list(proposal.targets),
        "target_tokens": proposal.tokens,
        "available_tokens": proposal.available,
        "vocabulary": proposal.vocabulary,
        "validation_fraction": proposal.validation_fraction,
        "preset": proposal.preset,
        "proxy_tokens": proposal.proxy_tokens,
        "windows_per_step": proposal.windows_per_step,
        "mixtures": proposal.mixtures,
        "warnings": list(proposal.warnings),
    }
