"""Whether a stage would train on more than a launch may take."""

from __future__ import annotations

from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.planning.forecast.forecast import forecast_of


def check_cap(workspace: Workspace, stage: Stage, cap: int | None) -> None:
    """Raise StudyError where a stage would train on more tokens than a launch may take; None: it may take all."""
    if cap is None:
        return
    asked = forecast_of(workspace).of(stage.name).tokens
    if asked > cap:
        raise StudyError(
            f"{asked:,} tokens would be trained on, this launch is capped at {cap:,}",
            where=stage.name,
            remedy="raise max_new_tokens in the launchpad, or train fewer mixtures",
        )
