"""What an audit finds: an asset's part in the chain, what differs in it, and files whose checksums are taken once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from regmix_pipeline.engine.opened import CONTENT
from regmix_pipeline.engine.records import Record
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import sha256_of

Kind = Literal["altered", "gone", "changed since"]


@dataclass(frozen=True)
class Difference:
    """Something that is not as the decision knew it: its place (``asset/key``), its kind, and what differs."""

    place: str
    kind: Kind
    what: str


@dataclass
class Link:
    """One asset's part in the chain.

    Attributes:
        asset: the asset's name, or "mixture_decision" for the decision itself, "journal" and "ledger" for these.
        things: keys and versions that took part.
        files: files whose checksum was taken again.
        unsummed: files of which no checksum was recorded.
        made: earliest and latest time, UTC.
        differences: what is not as it was.
    """

    asset: str
    things: int = 0
    files: int = 0
    unsummed: int = 0
    made: tuple[str, str] = ("", "")
    differences: list[Difference] = field(default_factory=list)


class Files:
    """Files of a home, each read at most once in an audit.

    Args:
        workspace: the study on disk.
        contents: whether tokens and weights are read too; without, it is only looked whether they are there.

    Attributes:
        wrong: files that are gone or are not what was recorded.
    """

    def __init__(self, workspace: Workspace, *, contents: bool) -> None:
        self.workspace, self.contents = workspace, contents
        self.wrong: set[str] = set()
        self._sums: dict[str, str | None] = {}

    def sum(self, name: str) -> str | None:
        """SHA-256 of a file, by its name relative to the home; None for one that is gone."""
        if name not in self._sums:
            try:
                self._sums[name] = sha256_of(self.workspace.home / name)
            except OSError:
                self._sums[name] = None
        return self._sums[name]

    def differ(self, record: Record, place: str, link: Link) -> Iterator[Difference]:
        """Files of a record against its checksums; counted in ``link``."""
        for name, expected in record.sums.items():
            if not self.contents and name.endswith(CONTENT):
                if not (self.workspace.home / name).is_file():
                    yield Difference(place, "gone", name)
                continue
            link.files += 1
            found = self.sum(name)
            if found == expected:
                continue
            if found is not None and (again := self._made_again(record, name, found)):
                yield Difference(place, "changed since", f"{name} {again}")
                continue
            self.wrong.add(name)
            what = f"{name} is not what was recorded" if found else name
            yield Difference(place, "altered" if found else "gone", what)
        for name in record.files:
            if name not in record.sums:
                link.unsummed += 1
                if not (self.workspace.home / name).is_file():
                    yield Difference(place, "gone", name)

    def _made_again(self, record: Record, name: str, found: str) -> str:
        """How a file that tells times is that of a later record; "" where it is not. A proxy's JSON holds the times
        that its training took, and a report those of all records."""
        report = record.asset == "mixture_report"
        if not (report or name.endswith("proxy.json")):
            return ""
        again = self.workspace.records.sums_on_record((record.asset,))
        if found not in again.get(name, ()):
            return ""
        weights = name.replace("proxy.json", "model.safetensors")
        if report or again.get(weights) == {record.sums.get(weights)}:
            return "was made again, from the same decision" if report else "was made again, to the same weights"
        return ""
