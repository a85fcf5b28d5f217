"""Names of a study's assets and partitions in a Dagster instance, which other studies may share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import dagster as dg
import yaml

from regmix_pipeline.engine.workspace import Stage, Workspace

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class StudyNames:
    """Asset keys and partition names of one study.

    Attributes:
        study: the study's name, as Dagster allows it in names: letters, digits and underscores.
        prefix: begins the names of jobs, sensors, the schedule and resources, where its code location has others.
    """

    study: str
    prefix: str = ""

    @classmethod
    def of(cls, study_name: str) -> StudyNames:
        """The names for a study's own name."""
        return cls(_NOT_ALLOWED.sub("_", study_name) or "study")

    def asset_key(self, stage: Stage | str) -> dg.AssetKey:
        """The key of the asset that runs a stage: ``<study>/<stage>``."""
        return dg.AssetKey([self.study, stage if isinstance(stage, str) else stage.name])

    def asset_keys(self, stages: Iterable[Stage | str]) -> list[dg.AssetKey]:
        """The keys of several stages' assets."""
        return [self.asset_key(stage) for stage in stages]

    def of_location(self, name: str) -> str:
        """The name of a job, sensor, schedule or resource in its code location."""
        return f"{self.prefix}{name}"

    def op_name(self, stage: Stage) -> str:
        """The name of the step that runs a stage, which is also its output's: Dagster allows no slash there."""
        return f"{self.study}__{stage.name}"

    @cached_property
    def sources(self) -> dg.DynamicPartitionsDefinition:
        """Domains, and target sets that are not domains: everything that is tokenised."""
        return dg.DynamicPartitionsDefinition(name=f"{self.study}/domain")

    @cached_property
    def mixtures(self) -> dg.DynamicPartitionsDefinition:
        """Mixture ids: what proxies are trained on."""
        return dg.DynamicPartitionsDefinition(name=f"{self.study}/mixture")

    def partitions_of(self, stage: Stage) -> dg.DynamicPartitionsDefinition | None:
        """The partitions of a stage's asset."""
        return {None: None, "domain": self.sources, "mixture": self.mixtures}[stage.partitions]


def names_of(workspace: Workspace) -> StudyNames:
    """The names of the study that a workspace holds."""
    return StudyNames.of(workspace.study_in_file.name)


def asset_key(workspace: Workspace, stage: Stage | str) -> dg.AssetKey:
    """The key of the asset that runs a stage of a workspace's study."""
    return names_of(workspace).asset_key(stage)


def stage_name(key: dg.AssetKey) -> str:
    """The name of the stage that an asset runs."""
    return key.path[-1]


def names_in(study_file: Path) -> StudyNames:
    """The names for a study file that may be wrong: from its field `name`, or else the name of the file."""
    try:
        return StudyNames.of(str(yaml.safe_load(study_file.read_text(encoding="utf-8"))["name"]))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return StudyNames.of(study_file.stem)
