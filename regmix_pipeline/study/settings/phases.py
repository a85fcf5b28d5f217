"""Phases of the large run, such as pre-training and annealing."""

from __future__ import annotations

from pydantic import Field

from regmix_pipeline.study.settings.base import Settings


class Phase(Settings):
    """A phase of the large run. Those with a mixture are settled; the study chooses that of the last, or last ones."""

    name: str
    """Short name, for reports and exports: lower-case letters, digits, underscores."""
    tokens: int = Field(gt=0)
    """Tokens that the large run draws in this phase."""
    mixture: dict[str, float] | None = None
    """Domain -> share of the phase's tokens, of a settled phase. What it drew of a domain counts against the domain's
    epochs in those that are chosen. None: it is chosen; where the last two or three have none, all at once."""
    proxy_tokens: int | None = Field(default=None, gt=0)
    """Tokens of this settled phase that are trained on once, before every proxy goes on from there with its own mixture
    for `proxies.training.tokens`. Default: as many as keep the large run's proportion of the phases."""
