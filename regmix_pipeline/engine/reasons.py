"""Why a key of a stage has to be made again, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SHOWN = 3
"""Changed inputs that are named before the rest is counted."""


class Kind(Enum):
    """What has happened to a key."""

    NEW = "new"
    MISSING = "a file of it is missing"
    DAMAGED = "a file of it is damaged"
    FILES_CHANGED = "files changed"
    INPUTS_CHANGED = "changed"
    SETTINGS_CHANGED = "settings changed"
    FORCED = "forced"


@dataclass(frozen=True)
class Reason:
    """Why a key has to be made; as text it is what commands and the Dagster UI say.

    Attributes:
        kind: what has happened.
        what: names of the files, inputs or settings concerned.
        problem: what is wrong with a damaged file.
    """

    kind: Kind
    what: tuple[str, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        match self.kind:
            case Kind.MISSING:
                return f"{self.what[0]} is missing"
            case Kind.DAMAGED:
                return f"{self.what[0]} {self.problem}"
            case Kind.INPUTS_CHANGED:
                more = f" and {len(self.what) - SHOWN} more" if len(self.what) > SHOWN else ""
                return f"{self.kind.value}: {', '.join(self.what[:SHOWN])}{more}"
            case Kind.SETTINGS_CHANGED:
                return f"{self.kind.value}: {', '.join(self.what)}"
        return self.kind.value


NEW, FORCED = Reason(Kind.NEW), Reason(Kind.FORCED)
