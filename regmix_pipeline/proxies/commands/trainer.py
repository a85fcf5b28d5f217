"""The study's command as every proxy's spec carries it: what decides its results, and how it is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.registry import code_version
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.trainer import TrainerSettings

_NOT_CONTENT = ("__pycache__",)


class Trainer(Settings):
    """A command that trains a proxy."""

    settings: TrainerSettings
    """As the study states them."""
    contents: dict[str, str]
    """Name of each declared file, as the study states it -> SHA-256 of its content."""
    available: dict[str, int] = Field(default_factory=dict)
    """Domain -> tokens that a proxy may see of data elsewhere. Default: those of the study's token shards."""
    base: Path
    """Folder that the command runs in: the study file's. Not part of the proxy's identity."""
    study: str = ""
    """The study's name, for the mixture file. Not part of the proxy's identity."""
    objective: dict[str, float] = Field(default_factory=dict)
    """Target -> share of the objective, for the mixture file. Not part of the proxy's identity."""

    @property
    def identity(self) -> dict[str, Any]:
        """All of it that decides what the command makes."""
        found = self.settings.model_dump(mode="json", include={"command", "format", "data"})
        own = code_version(FORMATS.find(self.settings.format)) if ":" in self.settings.format else None
        return found | {"files": self.contents} | ({"format version": own} if own else {})


def trainer_of(workspace: Workspace) -> Trainer | None:
    """The study's command, with the content of its files; None where this package trains.

    Raises:
        StudyError: a file is missing, or the format cannot read the study's token shards and no address is given.
    """
    settings = workspace.study.proxies.trainer
    if settings is None:
        return None
    return workspace.once("trainer", lambda: _trainer(workspace, settings))


def _trainer(workspace: Workspace, settings: TrainerSettings) -> Trainer:
    form = FORMATS.find(settings.format, "proxies.trainer.format")
    if settings.data is None and form.need in ("text", "template"):
        raise StudyError(
            f"the format {settings.format} cannot read the study's token shards",
            where="proxies.trainer.data",
            remedy="say where each domain's data are, for instance /data/{domain}, or choose format json",
        )
    return Trainer(
        settings=settings,
        contents=dict(_contents(workspace.base, settings.files)),
        base=workspace.base,
        study=workspace.study.name,
        objective=workspace.study.objective,
    )


def _contents(base: Path, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for number, name in enumerate(names):
        path = base / name
        if path.is_file():
            yield name, sha256_of(path)
        elif path.is_dir():
            inside = sorted(each.relative_to(path) for each in path.rglob("*") if each.is_file())
            for each in inside:
                if not any(part.startswith(".") or part in _NOT_CONTENT for part in each.parts):
                    yield f"{name}/{each.as_posix()}", sha256_of(path / each)
        else:
            raise StudyError(
                f"{path} is not there",
                where=f"proxies.trainer.files.{number}",
                remedy="correct it: a relative path starts at the study file's folder",
            )
