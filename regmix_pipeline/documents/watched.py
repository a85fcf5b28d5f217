"""Watched folders as domains of the study: those that the last look recorded."""

from __future__ import annotations

from collections.abc import Sequence

from regmix_pipeline.engine.records import Records
from regmix_pipeline.study.settings.targets import Target
from regmix_pipeline.study.study import Domain, Study

NAME = "domains"
"""The stage that looks for them."""


def with_watched_domains(study: Study, watched: Sequence[str]) -> Study:
    """The study with the watched folders among its domains, after those of its file; where names collide the file's
    holds."""
    watch = study.watch
    new = [name for name in watched if watch is not None and name not in names_taken(study)]
    if watch is None or not new:
        return study
    domains = {name: Domain(source=watch.source_of(name), cap=watch.cap) for name in new}
    weight = watch.target_weight
    targets = {} if weight is None else {name: Target(weight=weight) for name in new}
    return study.model_copy(update={"domains": dict(study.domains) | domains, "targets": dict(study.targets) | targets})


def recorded(records: Records) -> list[str]:
    """Watched folders that are domains, as the last look recorded them."""
    record = records.current(NAME)
    return [] if record is None else list(record.settings["watched"])


def names_taken(study: Study) -> set[str]:
    """Names of the study's own domains and targets."""
    return {*study.domains, *study.targets}
