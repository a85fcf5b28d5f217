"""A strategy by its name in a study file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.strategies.arena import Strategy
from regmix_pipeline.strategies.catalogue import STRATEGIES


def named_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """A built-in strategy, or for ``package.module:Class`` one of the user's own, made with ``options``.

    Raises:
        StudyError: there is none of that name, or it does not take the options.
    """
    make = STRATEGIES.find(name, f"strategies.names: {name}")
    try:
        return make(**options)
    except TypeError as error:
        raise StudyError(str(error), where=f"strategies.options.{name}", remedy="give what it takes") from error
