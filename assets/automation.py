"""When assets are made by themselves: conditions on content, and the sensor that evaluates them.

Sensors look at the world outside and say what is there; conditions say what follows from it. The money step, training,
has no condition: `assets/sensors.py` asks for it within the study's budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from regmix_pipeline.assets.names import StudyNames

AC = dg.AutomationCondition


def inputs_changed(*followed: dg.AssetKey) -> dg.AutomationCondition:
    """Make an asset when the content of an input or its code changed, or once its inputs are there; try twice.

    Args:
        followed: keys of the inputs that it follows; default all. Others must be named where every change that matters
            also changes one of these, or where the inputs are observed by the asset's own run.

    What changes while a run is going is kept for the next one, since only a request resets it; a failed run is tried
    once more, on the tick that sees the failure, and then left until something changes.
    """
    asked = AC.newly_requested() | AC.initial_evaluation()
    new_input = _of(followed, AC.any_deps_match(AC.data_version_changed() | AC.newly_missing())).since(asked)
    new_code = AC.code_version_changed().since(asked)
    possible, ready = _possible(followed), _ready(followed)
    return ((new_input | new_code | possible | _retry_once()) & ready).with_label("inputs_changed")


def inputs_there() -> dg.AutomationCondition:
    """Make an asset once, when its inputs are there: for the tokenizer, which is frozen from then on."""
    return ((_possible(()) | _retry_once()) & _ready(()) & AC.missing()).with_label("inputs_there")


def _of(followed: Sequence[dg.AssetKey], condition: Any) -> Any:
    """The condition on inputs, for those that are followed alone."""
    return condition.allow(dg.AssetSelection.assets(*followed)) if followed else condition


def _possible(followed: Sequence[dg.AssetKey]) -> dg.AutomationCondition:
    """Never made, and its last missing input has come; not reset by the first evaluation, which may find it so."""
    return (AC.missing() & ~_of(followed, AC.any_deps_missing())).newly_true().since(AC.newly_requested())


def _retry_once() -> dg.AutomationCondition:
    return AC.execution_failed().newly_true()


def _ready(followed: Sequence[dg.AssetKey]) -> dg.AutomationCondition:
    # An input that has no partition yet misses none: each must have some that were made.
    there = _of(followed, AC.all_deps_match(~AC.missing())) & ~_of(followed, AC.any_deps_missing())
    return there & ~_of(followed, AC.any_deps_in_progress()) & ~AC.in_progress()


def automation(look_seconds: int, names: StudyNames, *, on: bool = True) -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions. Dagster's own is there by default but stopped; this one runs where
    ``on``."""
    return dg.AutomationConditionSensorDefinition(
        names.of_location("automation"),
        target=dg.AssetSelection.key_prefixes([names.study]),
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=look_seconds,
        description="Shards, inventory and mixtures follow what arrived, changed or went.",
    )
