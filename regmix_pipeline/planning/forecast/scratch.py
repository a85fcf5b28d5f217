"""A scratch workspace: it reads what a home holds, and what is made in it goes to a temporary folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from regmix_pipeline.documents.observe import CHECKSUM_FILE
from regmix_pipeline.engine.parts import part_path
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe, Record, Records, now
from regmix_pipeline.engine.workspace import Stage, Workspace

_WRITTEN = ("inventory", "mixtures", "imports", "tokenizers")
"""Folders of a home that cheap stages write into."""


class ScratchRecords(Records):
    """Records whose current ones are written to the scratch home alone; history is the real home's."""

    def save(self, *records: Record) -> None:
        """Make records the current ones here."""
        for record in records:
            path = Path(self._current, record.asset, f"{record.key}.json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # a link to the real record, which must stay as it is
            path.write_bytes(record.content)

    def need_unaltered(self, record: Record) -> Record:
        """The record: those made here are not in the journal."""
        return record


class ScratchWorkspace(Workspace):
    """A workspace over a scratch home: what is written there is not kept, and parts of tables are not written at
    all."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        vars(self).update(vars(workspace))
        self.home, self.data = folder / "home", folder / "data"
        self.records, self.memory = ScratchRecords(self.home / "records"), {}
        self.say = lambda line: None
        self.study = self.study_in_file
        self.join()

    def write_rows(self, table: str, version: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Where the part would be."""
        return part_path(self.path("tables"), table, version)

    def compute(self, stage: Stage, recipes: Mapping[str, Recipe]) -> None:
        """Make keys of a stage here.

        Raises:
            RegmixError: as the stage does.
        """
        for key in recipes:
            self._delete_damaged(stage, key)
        for output in stage.compute(self, recipes):
            if output.error is not None:
                raise output.error
            self.records.save(self.record_of(stage, recipes[output.key], output))

    def _delete_damaged(self, stage: Stage, key: str) -> None:
        """Delete links to what is damaged of a key; the files themselves stay."""
        record = self.records.current(stage.name, key)
        for name, _ in self._damaged(record) if record is not None else ():
            if self.path(name).is_symlink():
                self.path(name).unlink()

    def suppose(self, stage: Stage, key: str, recipe: Recipe, version: str, facts: Mapping[str, Any] = {}) -> None:
        """Take a key as made in this version, without its artefacts."""
        self.records.save(self.record_of(stage, recipe, Output(key, version, facts)))

    def record_of(self, stage: Stage, recipe: Recipe, output: Output) -> Record:
        """The record of an output made here."""
        inside = [path for path in output.files if path.is_relative_to(self.home)]
        files = tuple(str(path.relative_to(self.home)) for path in inside)
        inputs, settings = dict(recipe.inputs), dict(recipe.settings)
        return Record(
            stage.name,
            output.key,
            output.version,
            recipe.id,
            inputs,
            settings,
            dict(output.facts),
            files,
            now(),
            0.0,
            "",
        )


@contextmanager
def scratch_workspace(workspace: Workspace) -> Iterator[ScratchWorkspace]:
    """A scratch workspace over ``workspace``'s home, which may be missing; gone with everything in it afterwards."""
    with TemporaryDirectory(prefix="regmix-forecast-") as name:
        folder = Path(name)
        # The deepest first: what is a folder already is not linked.
        for place in ("records/current", "shards"):
            for inner in _folders(workspace.home / place):
                _mirrored(inner, folder / "home" / place / inner.name)
        for place in ("records/current", "records", "shards", *_WRITTEN, ""):
            _mirrored(workspace.home / place, folder / "home" / place)
        _mirrored(workspace.data, folder / "data")
        checksums = folder / "data" / CHECKSUM_FILE
        if checksums.is_symlink():
            checksums.unlink()
            shutil.copyfile(workspace.data / CHECKSUM_FILE, checksums)
        yield ScratchWorkspace(workspace, folder)


def _mirrored(real: Path, scratch: Path) -> None:
    """A folder with links to all that the real one holds, but for what exists already."""
    scratch.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(real) if real.is_dir() else ():
        if not (scratch / entry.name).exists():
            (scratch / entry.name).symlink_to(entry.path, target_is_directory=entry.is_dir())


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()] if folder.is_dir() else []
