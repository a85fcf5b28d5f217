"""What a person should know of how tables of runs were read."""

from __future__ import annotations

from collections.abc import Sequence

from regmix_pipeline.numbers import amount, listed
from regmix_pipeline.proxies.imports import split_by_size
from regmix_pipeline.proxies.run_facts import sizes_of
from regmix_pipeline.proxies.run_tables import ImportedRun, RunsRead
from regmix_pipeline.study.settings.imports import RunTableSettings
from regmix_pipeline.study.study import Study

SHOWN = 3
"""Partial runs that are named."""


def notes_of(study: Study, read: RunsRead, settings: RunTableSettings) -> list[str]:
    """A line each: percentages, partial runs, and which of several model sizes is fitted."""
    notes = ["weights are percentages: every row sums to 100"] if read.percent else []
    did = "left out" if settings.partial == "leave_out" else "kept"
    shown = [f"{run} ({why})" for run, why in list(read.partial.items())[:SHOWN]]
    if shown:
        more = f" and {len(read.partial) - SHOWN} more" if len(read.partial) > SHOWN else ""
        notes.append(f"{len(read.partial)} partial runs are {did}: {', '.join(shown)}{more}")
    fitted, others = split_by_size(study, read.runs)
    if others:
        notes.append(
            f"models of {_sizes(read.runs)}: {len(fitted)} runs are fitted"
            + (f", those of {_sizes(fitted)}" if fitted else "")
            + f"; the other {len(others)} show how far rankings carry over, and are no evidence for the fit "
            "(imported_size in the study file chooses)"
        )
    return notes


def _sizes(runs: Sequence[ImportedRun]) -> str:
    groups = sizes_of(run.parameters for run in runs)
    return listed([f"{amount(max(each or 0 for each in group))} parameters" for group in groups])
