"""When the study follows its data by itself, and how much it may spend on that."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from regmix_pipeline.study.settings.base import Settings


class Refit(Settings):
    """How the study follows its domains while `regmix ui` runs: data by itself, training within a budget."""

    cron: str | None = None
    """When regressor, search, decision and report are made again if anything changed, for instance `0 3 * * *`.
    None: they wait for a click."""
    timezone: str = "UTC"
    """Time zone of `cron`."""
    max_new_tokens: int = Field(default=0, ge=0)
    """Training tokens that all stale proxies together may take without being asked for. 0: training waits for a
    click. A confirmation is trained by the schedule if it fits as well."""
    tolerance: float = Field(default=0.03, ge=0)
    """A decision is stable once its expected regret is below this share of its expected gain over natural."""
    batch: int = Field(default=4, ge=1, le=10_000)
    """Further mixtures proposed at a time while the decision is not stable."""
    settle_seconds: float = Field(default=60, ge=0)
    """A watched folder counts, or no longer counts, once it has been still for so long: copies take their time."""
    look_seconds: int = Field(default=30, ge=1)
    """Time between two looks at the domains; a look lists files and reads none."""

    @field_validator("cron")
    @classmethod
    def _valid_cron(cls, cron: str | None) -> str | None:
        if cron is not None:
            import dagster as dg  # the schedule's own check; takes its time to import

            try:
                dg.ScheduleDefinition(name="refit", job_name="refit", cron_schedule=cron)
            except dg.DagsterInvalidDefinitionError as error:
                raise ValueError(
                    f"{cron!r} is not a cron schedule: five fields (minute, hour, day of the month, month, weekday) "
                    "such as 0 3 * * MON, or @daily"
                ) from error
        return cron

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except Exception as error:  # keys that are missing, malformed or folders raise errors of three kinds
            raise ValueError(f"{zone!r} is not a time zone: use a name such as UTC or Europe/Berlin") from error
        return zone
