"""`losses.json`, which the user's command leaves behind: what it may hold, and whether it is what was asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.study.settings.base import Settings, place_of, problem_of

EXAMPLE = '{"losses": {"code": 2.31}, "step": 1000, "tokens": {"web": 900000, "code": 100000}}'


class ReportedLoss(Settings):
    """A target's loss."""

    loss: float
    """Mean loss, nats per token."""
    standard_error: float | None = Field(default=None, ge=0)
    """Its standard error, in the same unit."""
    bits_per_byte: float | None = None
    """The loss in bits per UTF-8 byte, where the trainer knows it."""
    evaluated_tokens: int | None = Field(default=None, gt=0)
    """Tokens that it was measured on."""


def _as_mapping(value: Any) -> Any:
    return {"loss": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


Loss = Annotated[ReportedLoss, BeforeValidator(_as_mapping)]
"""A number, or a mapping with its standard error."""


class Measurement(Settings):
    """Losses along the way."""

    step: int = Field(gt=0)
    """Optimiser steps taken by then."""
    tokens: int = Field(gt=0)
    """Tokens trained on by then."""
    losses: dict[str, Loss]
    """Target -> its loss."""


class ReportedStep(Settings):
    """An optimiser step."""

    step: int = Field(gt=0)
    """Its number, from 1."""
    tokens: int = Field(gt=0)
    """Tokens trained on by then."""
    training_loss: float
    """Mean loss of its tokens, nats per token."""
    gradient_norm: float | None = Field(default=None, ge=0)
    """Norm of the gradient before clipping."""
    learning_rate: float | None = Field(default=None, ge=0)
    """Learning rate."""


class Reported(Settings):
    """What a command reports of one proxy."""

    losses: dict[str, Loss]
    """Target -> its loss at the end; a number, or a mapping with its standard error."""
    step: int = Field(gt=0)
    """Optimiser steps taken."""
    tokens: dict[str, int]
    """Domain -> tokens trained on, repetition counted."""
    trajectory: tuple[Measurement, ...] = ()
    """Losses along the way, if the trainer has them."""
    training: tuple[ReportedStep, ...] = ()
    """Optimiser steps, all or some of them, if the trainer has them."""
    parameters: int | None = Field(default=None, gt=0)
    """Parameters of the model."""
    training_loss: float | None = None
    """Mean loss at the end of training."""


def read_reported(path: Path, spec: ProxySpec) -> Reported:
    """Read `losses.json`, whole and checked.

    Args:
        path: the file.
        spec: the proxy that it is about, with the targets to be measured and the tokens to be drawn.

    Raises:
        FileNotFoundError: it is not there.
        ProxyError: it is no JSON, or not of this form; a target is missing or unknown; the tokens executed are not
            those of the mixture.
    """
    text, where = path.read_text(encoding="utf-8", errors="replace"), f"{path} of proxy {spec.id}"
    try:
        found = Reported.model_validate(json.loads(text))
    except ValidationError as error:
        item = error.errors()[0]
        place = ".".join(map(str, place_of(item)))
        raise ProxyError(
            f"{place or 'the whole'}: {problem_of(item, Reported)}", where=where, remedy=f"write for instance {EXAMPLE}"
        ) from None
    except ValueError as error:
        problem = f"is not complete JSON: {error}" if text.strip() else "is empty"
        raise ProxyError(
            problem, where=where, remedy="write it beside, under another name, and rename it once it is whole"
        ) from None
    _check_targets(found.losses, spec.targets, where)
    for number, point in enumerate(found.trajectory):
        _check_targets(point.losses, spec.targets, f"{where}, trajectory.{number}", must_have_all=False)
    _check_tokens(found.tokens, spec, where)
    return found


def _check_targets(
    losses: Mapping[str, Any], targets: Collection[str], where: str, *, must_have_all: bool = True
) -> None:
    if unknown := [name for name in losses if name not in targets]:
        raise ProxyError(
            f"{unknown[0]!r} is not a target of the study", where=where, remedy=f"report {', '.join(targets)}"
        )
    if must_have_all and (missing := [name for name in targets if name not in losses]):
        raise ProxyError(
            f"the loss on {', '.join(missing)} is missing", where=where, remedy=f"report {', '.join(targets)}"
        )


def _check_tokens(tokens: Mapping[str, int], spec: ProxySpec, where: str) -> None:
    assert spec.trainer is not None
    asked, tolerance = spec.training.tokens, spec.trainer.settings.tolerance
    weights = spec.exact_mixture.weights
    remedy = f"train on what {{mixture_file}} asks for, or raise proxies.trainer.tolerance above {tolerance:g}"
    if unknown := [name for name in tokens if name not in weights and (tokens[name] or name not in spec.shards)]:
        raise ProxyError(
            f"tokens were drawn from {unknown[0]!r}, which is not in the mixture", where=where, remedy=remedy
        )
    allowed = tolerance * asked
    for domain, weight in weights.items():
        found = tokens.get(domain, 0)
        if abs(found - weight * asked) > allowed + 1:
            raise ProxyError(
                f"{found:,} tokens of {domain} were executed, and {weight * asked:,.0f} are asked for, give or take "
                f"{allowed:,.0f}",
                where=where,
                remedy=remedy,
            )
    total = sum(tokens.values())
    if abs(total - asked) > allowed + 1:
        raise ProxyError(
            f"{total:,} tokens were executed in all, and {asked:,} are asked for, give or take {allowed:,.0f}",
            where=where,
            remedy=remedy,
        )
