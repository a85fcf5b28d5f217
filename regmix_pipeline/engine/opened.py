"""An opened study: what it says, and what its home holds, read with the checksums on record."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from regmix_pipeline.documents.watched import recorded, with_watched_domains
from regmix_pipeline.engine.home import home_of
from regmix_pipeline.engine.ledger import head_in
from regmix_pipeline.engine.records import UNPARTITIONED, Record, Records
from regmix_pipeline.engine.stage import OWNERS
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.engine.verified import verified_tables
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import read_json, sha256_of
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.study.changes import Change, names_today
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.phases import coordinates
from regmix_pipeline.study.study import Study

if TYPE_CHECKING:
    import duckdb

CONTENT = (".ds", ".index", ".safetensors")
"""Endings of large files: tokens and model weights."""
LEDGER = "ledger.duckdb"
T = TypeVar("T")


class OpenedStudy:
    """A study, its home and its records, for those who read.

    Args:
        study_file: the study's YAML.
        home: folder of everything made for the study; default found by the study file, see `home.home_of`.
        data: folder of downloaded corpora, shared between studies; default $REGMIX_DATA, or data beside the home.
        run: id of the current run, kept in the records.
        workers: processes that train at once; overrides the study. None there too: as many as fill the machine.
        say: where progress goes.
        changes: fields of the study file to read otherwise than they are written, such as ``limits.max_epochs=2``.

    Raises:
        StudyError: the study file is wrong, or the home found for it is another file's.
    """

    def __init__(
        self,
        study_file: Path | str,
        home: Path | str | None = None,
        data: Path | str | None = None,
        *,
        run: str = "",
        workers: int | None = None,
        say: Say = to_stderr,
        changes: Sequence[str] = (),
    ) -> None:
        self.study_file = Path(study_file).resolve()
        self.study_in_file: Study = load_study(self.study_file, changes)
        """The study file's own content; `study` has the watched domains as well."""
        self.home = Path(home or home_of(self.study_file, self.study_in_file.name)).resolve()
        self.data = Path(data or os.environ.get("REGMIX_DATA") or self.home.parent / "data").resolve()
        self.run, self.say = run, say
        self.triggered: Mapping[str, str] = {}
        """Who or what started the current run: through, by, why."""
        self.workers = workers or self.study_in_file.proxies.workers
        self.records = Records(self.home / "records")
        # What the ledger was built from was complete: a line for it that has no file is not a leftover of a kill.
        self.records.journal.known_elsewhere = lambda: head_in(self.ledger).count
        self.memory: dict[str, Any] = {}
        """What was looked at once and holds for this workspace's life."""
        self._viewed: Self | None = None
        """The workspace that this one is a stage's view of."""
        self.study: Study = self.study_in_file
        self.join()

    def join(self) -> None:
        """Take the watched domains that are on record into the study: the one way that they come to be part of it."""
        self.study = with_watched_domains(self.study_in_file, recorded(self.records))
        if self._viewed is not None:
            self._viewed.study = self.study

    def read_by(self, reader: Callable[[frozenset[str]], None]) -> Self:
        """The same workspace for somebody who reads: ``reader`` is called before each read with the names of the assets
        that may own what is read, and may refuse by raising."""
        view = copy.copy(self)
        view.records, view._viewed = self.records.read_by(reader), self
        return view

    def once(self, name: str, look: Callable[[], T]) -> T:
        """What ``look`` returns, called once in this workspace's life. All that it reads counts as read at every
        use."""
        if name not in self.memory:
            read: set[frozenset[str]] = set()
            readers, self.records.readers = self.records.readers, (*self.records.readers, read.add)
            try:
                self.memory[name] = look(), read
            finally:
                self.records.readers = readers
        value, read = self.memory[name]
        for assets in read:
            self.records.note_read(*assets)
        return value

    @property
    def base(self) -> Path:
        """Folder that relative addresses in the study file start from."""
        return self.study_file.parent

    @property
    def domains(self) -> list[str]:
        """Names of the domains, in the study's order: sources of tokens."""
        return list(self.study.domains)

    @property
    def coordinates(self) -> list[str]:
        """What mixtures have weights of: the domains, or, of phases that are chosen at once, ``<phase>/<domain>``."""
        return coordinates(self.study)

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the study's order."""
        return list(self.study.targets)

    @property
    def changes(self) -> list[Change]:
        """The study's changes, but for those whose domain is still there: a watched folder that was split may stay."""
        return [change for change in self.study.changes if not change.gone & set(self.domains)]

    @property
    def renamed(self) -> dict[str, str]:
        """Former name -> name today of the domains that were renamed."""
        return names_today(self.changes)

    @property
    def revised(self) -> set[str]:
        """Domains, called as they are today, whose documents changed and whose nature did not."""
        return {self.renamed.get(change.revise, change.revise) for change in self.changes if change.revise}

    def path(self, *parts: str) -> Path:
        """A path under the home; counts as a read of the stages whose folder it is in."""
        if owners := OWNERS.get(parts[0]):
            self.records.note_read(*owners)
        return self.home.joinpath(*parts)

    def name_of(self, path: Path) -> str:
        """A path under the home as records name it."""
        return path.relative_to(self.home).as_posix()

    @property
    def ledger(self) -> Path:
        """The DuckDB file; for people and for what no stage reads. A stage takes `ledger_of`."""
        self.records.note_read("the ledger")
        return self.path(LEDGER)

    def ledger_of(self, *tables: str) -> Path:
        """The DuckDB file, for a stage that reads these of its tables in it."""
        for name in tables:
            for asset in TABLES[name].assets:
                self.records.note_read(asset)
        return self.path(LEDGER)

    def need(self, asset: str, key: str = UNPARTITIONED) -> Record:
        """The current record of an upstream asset.

        Raises:
            LedgerError: it was not made yet, or its record was edited.
        """
        record = self.records.current(asset, key)
        if record is None:
            place = asset if key == UNPARTITIONED else f"{asset}/{key}"
            damage = self.records.damage(asset, key)
            if damage is not None:
                raise LedgerError(f"its record {damage.problem}", where=damage.where, remedy=damage.remedy)
            raise LedgerError(
                "was not materialised yet", where=place, remedy=f"materialise {asset} first: `regmix run`"
            )
        return self.records.need_unaltered(record)

    def versions(self, asset: str, keys: Sequence[str] = (UNPARTITIONED,)) -> dict[str, str]:
        """``asset/key`` -> current version, as a recipe's inputs."""
        return {f"{asset}/{key}": self.need(asset, key).version for key in keys}

    def artefact(self, asset: str, key: str = UNPARTITIONED, suffix: str = "") -> Path:
        """The current artefact of an asset whose name ends in ``suffix``; all small files of the asset are as recorded.

        Raises:
            LedgerError: there is none, or a file was altered.
        """
        record = self.need(asset, key)
        for name in record.files:
            self.unaltered(record, name)
        for name in record.files:
            if name.endswith(suffix):
                return self.home / name
        raise LedgerError(f"has no artefact *{suffix}", where=f"{asset}/{key}", remedy="materialise it again")

    def unaltered(self, record: Record, name: str) -> Path:
        """A file of a record, whose checksum was compared: once for each state of the file, and not of tokens and
        weights, which are compared where they are read.

        Raises:
            LedgerError: it is gone or was altered.
        """
        self.records.note_read(record.asset)
        path, expected = self.home / name, record.sums.get(name)
        try:
            which = os.stat(path)
        except OSError:
            which = None
        if which is not None and (expected is None or name.endswith(CONTENT)):
            return path
        seen = (name, expected, which and (which.st_ino, which.st_mtime_ns, which.st_size))
        known = self.memory.setdefault("unaltered files", set())
        if seen not in known:
            if which is None or sha256_of(path) != expected:
                raise LedgerError(
                    "is gone" if which is None else f"was altered after it was recorded ({record.asset}/{record.key})",
                    where=str(path),
                    remedy="restore it from a backup, or delete it: `regmix run` then makes it again",
                )
            known.add(seen)
        return path

    def json(self, asset: str, suffix: str = ".json") -> Any:
        """The current JSON artefact of an asset; raises as `artefact`."""
        return read_json(self.artefact(asset, suffix=suffix))

    def tables(
        self, *names: str, ever: Collection[str] = (), assets: Collection[str] | None = None
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """What holds now of some of the ledger's tables, as views ``current_<table>``: for stages and for checks that
        gate them. Read from the files on record, not from the ledger; see `verified_tables`."""
        return verified_tables(self.records, self.home, *names, ever=ever, assets=assets)
