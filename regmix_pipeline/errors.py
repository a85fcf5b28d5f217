"""Errors a user can act on: each names the place (file, line or field) and the remedy."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from regmix_pipeline.addresses import text_without_credentials

DISK_FULL = "the disk is full, or cannot be written"

FREE_SPACE = "free space on it and run again: finished work is kept"


class RegmixError(Exception):
    """Bad input, stopped at the door.

    Args:
        problem: what is wrong, in one sentence.
        where: file, file:line or study field, for instance ``books.jsonl:17`` or ``domains.books.cap``.
        remedy: what the user can do about it.
    """

    def __init__(self, problem: str, *, where: str = "", remedy: str = "") -> None:
        # Other libraries' errors quote whole addresses, and what is said here is kept in logs.
        problem, where, remedy = (text_without_credentials(text) for text in (problem, where, remedy))
        self.problem, self.where, self.remedy = problem, where, remedy
        head = f"{where}: {problem}" if where else problem
        super().__init__(f"{head}\n  remedy: {remedy}" if remedy else head)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and workers send errors across processes.
        return _rebuild, (type(self), self.problem, self.where, self.remedy)

    @property
    def payload(self) -> list[str]:
        """Its class, problem, place and remedy: of them `error_from_payload` makes an error again, in another
        process."""
        return [type(self).__name__, self.problem, self.where, self.remedy]


class UndeclaredReadError(Exception):
    """A stage read what it does not declare: a fault of the code, not a `RegmixError`, which a user can act on.

    Args:
        stage: the stage that reads.
        assets: the assets that may own what it reads; one for a record, several for a folder that they share.
    """

    def __init__(self, stage: str, assets: Iterable[str]) -> None:
        read = " or ".join(sorted(assets))
        super().__init__(f"the stage {stage} reads {read}: declare it in the stage's upstream")


def _rebuild(kind: type[RegmixError], problem: str, where: str, remedy: str) -> RegmixError:
    return kind(problem, where=where, remedy=remedy)


class StudyError(RegmixError):
    """The study file asks for something impossible or unsafe."""


class DocumentError(RegmixError):
    """A source of documents is missing, empty or malformed."""


class TokenError(RegmixError):
    """Token shards or the tokenizer are missing, too small or altered."""


class MixtureError(RegmixError):
    """No mixture satisfies the limits, or a mixture is not on the simplex."""


class ProxyError(RegmixError):
    """A proxy could not be trained or evaluated."""


class RegressionError(RegmixError):
    """The loss table cannot be regressed on the mixtures."""


class LedgerError(RegmixError):
    """The ledger or one of the parts it indexes is missing or inconsistent."""


class BusyError(RegmixError):
    """Another run is running in the study's home."""


class PlanError(RegmixError):
    """A study cannot be planned: its hardware is not known, or its trial failed."""


class MissingExtraError(RegmixError):
    """A package is not installed that only an extra of this one brings."""


class DamagedError(LedgerError, ValueError):
    """A file of the home does not hold what was written into it. A ValueError, as what parses files raises."""


class DiskFullError(RegmixError):
    """A disk is full."""


_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full", "disk I/O error")
"""What the system, DuckDB and SQLite say of a full disk."""


@contextmanager
def full_disk_named(where: str) -> Iterator[None]:
    """Raise `DiskFullError` about ``where`` for any error that a full disk is behind."""
    try:
        yield
    except RegmixError:
        raise
    except Exception as error:
        full = full_disk(error, where)
        if full is None:
            raise
        raise full from error


def full_disk(error: BaseException, where: str = "") -> DiskFullError | None:
    """The error to show if a full disk is behind ``error``, at any depth; None if it is not."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        if is_full_disk(str(cause)):
            files = (each.filename for each in seen if isinstance(each, OSError) and each.filename)
            return DiskFullError(DISK_FULL, where=where or str(next(files, "")), remedy=FREE_SPACE)
        cause = cause.__cause__ or cause.__context__
    return None


def is_full_disk(text: str) -> bool:
    """Whether an error's text says that a disk is full."""
    return any(sign in text for sign in _FULL)


_REMEDIES = {
    errno.ENOSPC: "free some space and run again: finished work is kept",
    errno.EDQUOT: "free some of the quota and run again: finished work is kept",
    errno.EACCES: "give yourself the permission, or choose another folder",
    errno.EPERM: "give yourself the permission, or choose another folder",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.ENOTDIR: "a file stands where a folder should be: move it away",
    errno.EISDIR: "a folder stands where a file should be: move it away",
    errno.EEXIST: "a file stands where a folder should be: move it away",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "remove the link that leads to itself",
}
"""What the operating system refuses -> what a person can do about it; anything else is a fault of the program."""


def refused_by_system(error: BaseException) -> RegmixError | None:
    """The error to show where the operating system refused something that a person can put right; None for others."""
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    # Of a file that takes another's place, the second is the one that a person knows.
    place = error.filename2 or error.filename or ""
    return RegmixError(str(error.strerror), where=str(place), remedy=_REMEDIES[error.errno])


def error_from_payload(payload: Sequence[str], kind: type[RegmixError], where: str = "") -> RegmixError:
    """The error that wrote down its ``payload``.

    Args:
        payload: `RegmixError.payload`.
        kind: class of an error whose own is none of this module's.
        where: place of an error that names none.
    """
    name, problem, place, remedy = payload
    named = globals().get(name)
    if isinstance(named, type) and issubclass(named, RegmixError):
        kind = named
    return kind(problem, where=place or where, remedy=remedy)
