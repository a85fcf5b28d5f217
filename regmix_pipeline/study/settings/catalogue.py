"""What Dagster's catalogue says of a study's assets."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from regmix_pipeline.study.settings.base import Settings

_OWNER = re.compile(r"team:[\w.-]+|[^@\s]+@[^@\s]+\.[^@\s]+")
_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")


class Freshness(Settings):
    """When the decision counts as old, by the time since it was last made."""

    warn_after_hours: float | None = Field(default=None, gt=0)
    """Hours after which a warning is shown."""
    fail_after_hours: float = Field(gt=0)
    """Hours after which the decision is shown as overdue."""

    @model_validator(mode="after")
    def _in_order(self) -> Freshness:
        if self.warn_after_hours is not None and self.warn_after_hours >= self.fail_after_hours:
            raise ValueError("warn_after_hours has to be less than fail_after_hours")
        return self


class CatalogueSettings(Settings):
    """Owners, tags and freshness of the study's assets in Dagster. No part of any result."""

    owners: tuple[str, ...] = ()
    """Who answers for the assets: e-mail addresses, or teams such as `team:data`."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of every asset, such as {project: large-run}."""
    freshness: Freshness | None = None
    """When the decision counts as old. None: never."""

    @field_validator("owners")
    @classmethod
    def _owners(cls, owners: tuple[str, ...]) -> tuple[str, ...]:
        for owner in owners:
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"{owner!r} is neither an e-mail address nor a team such as team:data")
        return owners

    @field_validator("tags")
    @classmethod
    def _tags(cls, tags: dict[str, str]) -> dict[str, str]:
        for key, value in tags.items():
            if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or key.startswith(("dagster/", "regmix/")):
                raise ValueError(
                    f"{key}: {value!r} is not a tag: letters, digits, _ . - (at most 63), and no key that begins with "
                    "dagster/ or regmix/"
                )
        return tags
