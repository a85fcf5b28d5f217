"""The Dagster instance of a study: its own folder, with settings that suit this pipeline."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import yaml

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import fingerprint, write_together
from regmix_pipeline.resources.databases import named_if_damaged


def prepare_instance(home: Path) -> Path:
    """Make ``<home>/dagster`` with the shipped dagster.yaml, point DAGSTER_HOME at it, and return it.

    A dagster.yaml that exists already is the user's and stays as it is, unless it is the beginning of the shipped
    one: then somebody was interrupted while writing it.

    Raises:
        StudyError: the user's dagster.yaml is not a YAML mapping.
    """
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings, shipped = folder / "dagster.yaml", Path(__file__).with_name("dagster.yaml").read_bytes()
    content = settings.read_bytes() if settings.exists() else b""
    if content != shipped and shipped.startswith(content.rstrip(b"\0")):
        write_together({settings: shipped})
    elif content != shipped:
        _check(settings, content)
    os.environ["DAGSTER_HOME"] = str(plain_folder(folder))
    return folder


def plain_folder(folder: Path) -> Path:
    """The folder, under a name that can stand in an SQLite address: a question mark or a percent sign would end it."""
    if not set(str(folder)) & set("?%#"):
        return folder
    name = Path(tempfile.gettempdir()) / f"regmix-{os.getuid()}-{fingerprint(str(folder.resolve()))}"
    with contextlib.suppress(FileExistsError):
        name.symlink_to(folder.resolve(), target_is_directory=True)
    if name.resolve() != folder.resolve():
        raise StudyError(f"is not a link to {folder}", where=str(name), remedy="delete it")
    return name


@contextlib.contextmanager
def opened_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a home, made if it is not there.

    Raises:
        StudyError: its dagster.yaml is not YAML, or asks for what Dagster does not know.
        LedgerError: its databases are damaged, or may not be written.
    """
    folder = prepare_instance(home)
    with named_if_damaged(folder), _instance(folder) as instance:
        yield instance


def _instance(folder: Path) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.get()
    except dg.DagsterInvalidConfigError as error:
        problem = " ".join(str(each.message) for each in error.errors) or str(error)
        raise StudyError(
            f"Dagster refuses it: {problem}", where=str(folder / "dagster.yaml"), remedy="correct it, or delete it"
        ) from None


def _check(settings: Path, content: bytes) -> None:
    """Raise StudyError unless the file can be read: Dagster would say so by a traceback, or take it for empty."""
    try:
        parsed = yaml.safe_load(content)
        problem = "" if isinstance(parsed, dict) else "it holds no settings"
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
    if problem:
        raise StudyError(
            f"cannot be read: {problem}", where=str(settings), remedy="correct it, or delete it: it is made again"
        )
