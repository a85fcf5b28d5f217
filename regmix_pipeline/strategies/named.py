"""A strategy by its name in a study file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.strategies.arena import Strategy


def named_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """A built-in strategy, or for ``package.module:Class`` one of the user's own, made with ``options``.

    Raises:
        StudyError: there is none of that name, or it does not take the options.
    """
    where = f"strategies.names: {name}"
    make = _own(name, where) if ":" in name else _built_in(name, where)
    try:
        return make(**options)
    except TypeError as error:
        raise StudyError(str(error), where=f"strategies.options.{name}", remedy="give what it takes") from error


def version_of(strategy: Strategy) -> str:
    """The version of a strategy's code: its ``code_version``, raised by hand; "1" where it has none."""
    return str(getattr(strategy, "code_version", "1"))


def _built_in(name: str, where: str) -> Any:
    from regmix_pipeline.strategies.catalogue import STRATEGIES

    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise StudyError("no such strategy", where=where, remedy=f"choose one of {known}, or give package.module:Class")
    return STRATEGIES[name]


def _own(name: str, where: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        remedy = "put its folder on PYTHONPATH, and name the class after the colon"
        raise StudyError(f"cannot be imported: {error}", where=where, remedy=remedy) from error
