"""Whether a stage would train on more than a launch may take."""

from __future__ import annotations

from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.planning.forecast.forecast import forecast_of


def check_cap(workspace: Workspace, cap: int | None, *stages: Stage) -> None:
    """Raise StudyError where stages would train on more tokens than a launch may take; None: it may take all."""
    if cap is None:
        return
    found = forecast_of(workspace)
    asked = sum(found.of(stage.name).tokens for stage in stages)
    if asked > cap:
        raise StudyError(
            f"{asked:,} tokens would be trained on, this launch is capped at {cap:,}",
            where=stages[-1].name,
            remedy="raise max_new_tokens in the launchpad, or train fewer mixtures",
        )
