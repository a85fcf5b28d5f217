"""Which home a study has: found by the study file, wherever a command is run from, and one file's alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import read_json, write_json

FOLDER = ".regmix"
FILE = "study.json"
"""In a home: which study file it was made for."""


def home_of(study_file: Path, study: str) -> Path:
    """Where a study's artefacts live unless somebody names another place.

    $REGMIX_HOME; else ``.regmix/<study>`` in the nearest folder above the study file that has it; else at the root of
    the git checkout that the file is in; else beside the file.

    Raises:
        StudyError: the home that was found belongs to another study file.
    """
    if os.environ.get("REGMIX_HOME"):
        return Path(os.environ["REGMIX_HOME"])
    found = [folder / FOLDER / study for folder in study_file.parents if (folder / FOLDER / study).is_dir()]
    roots = [folder / FOLDER / study for folder in study_file.parents if (folder / ".git").exists()]
    home = [*found, *roots, study_file.parent / FOLDER / study][0]
    if other := other_file(home, study_file):
        raise StudyError(
            f"this home was made for another study file of the same name, {other}, not for {study_file}",
            where=str(home),
            remedy="give this study another name, or name a home for it: --home FOLDER or $REGMIX_HOME",
        )
    return home


def remember_file(home: Path, study_file: Path) -> None:
    """Note in a home which study file it is for, unless it has one that still exists."""
    note = {"file": str(study_file), "from home": os.path.relpath(study_file, home)}
    if other_file(home, study_file) is None and _note(home) != note:
        write_json(home / FILE, note)


def other_file(home: Path, study_file: Path) -> Path | None:
    """The study file that a home was made for, if it exists and is not ``study_file``.

    Both its place and its place as seen from the home count: study and home may be moved together, or one of them.
    """
    noted = _noted(home)
    return None if study_file in noted else next((path for path in noted if path.is_file()), None)


def _noted(home: Path) -> list[Path]:
    noted = _note(home)
    try:
        return [Path(noted["file"]), (home / noted["from home"]).resolve()]
    except (ValueError, KeyError, TypeError):
        return []


def _note(home: Path) -> Any:
    try:
        return read_json(home / FILE)
    except (OSError, ValueError):
        return {}
