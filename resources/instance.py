"""The Dagster instance of a study: its own folder, with settings that suit this pipeline."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

BATCH = 500
"""Events that Dagster hands over at once where it knows them together: those that it plans at a run's start."""


def prepare_instance(home: Path) -> Path:
    """Make ``<home>/dagster`` with the shipped dagster.yaml, point DAGSTER_HOME at it, and return it.

    A dagster.yaml that is there already is the user's and stays as it is.
    """
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        shutil.copyfile(Path(__file__).with_name("dagster.yaml"), settings)
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(BATCH))
    return folder
