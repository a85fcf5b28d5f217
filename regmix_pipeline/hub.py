"""The Hugging Face Hub: commits of branches, single files, and what its errors mean for a person."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regmix_pipeline.errors import RegmixError, TokenError

PATIENCE = 5.0
"""Seconds that a look at a branch may take; no result depends on it."""
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit, which never moves."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def commit_of(model: str, revision: str | None, *, patience: float | None = None) -> str:
    """The commit that a branch or tag of a model is at now.

    Raises:
        TokenError: the Hub has no such model or revision, refuses it, or is not reached.
    """
    if is_commit(revision):
        return str(revision)
    from huggingface_hub import HfApi

    with _errors(f"{model}@{revision or 'main'}"):
        return str(HfApi().model_info(model, revision=revision, timeout=patience).sha)


def fetched_file(model: str, commit: str, name: str) -> Path:
    """A file of a model, in the Hub's own cache on this machine. Raises TokenError as `commit_of`."""
    from huggingface_hub import hf_hub_download

    with _errors(f"{model}@{commit[:12]}/{name}"):
        return Path(hf_hub_download(model, name, revision=commit))


@contextmanager
def _errors(where: str) -> Iterator[None]:
    try:
        yield
    except RegmixError:
        raise
    except Exception as error:  # of the Hub's client, of HTTP, of the disk
        found = hub_problem(error)
        problem, remedy = found or (f"cannot be fetched: {error}", "give the tokenizer as a file, with tokenizer.file")
        raise TokenError(problem, where=f"hf://{where}", remedy=remedy) from error


def hub_problem(error: BaseException) -> tuple[str, str] | None:
    """What an error of the Hub's client means, and the remedy; None for any other error.

    The client raises errors of its own, errors of HTTP, and file errors caused by them.
    """
    if "huggingface_hub" not in sys.modules:
        return None
    return next((found for each in _causes(error) if (found := _of_one(each)) is not None), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, the deepest cause first: that one says what happened."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return reversed(chain)


def _of_one(error: BaseException) -> tuple[str, str] | None:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hugging Face Hub is not asked", "unset it, or give files on a disk"
    if isinstance(error, errors.GatedRepoError):
        return "the repository is gated", f"ask for access on its page, then {LOG_IN}"
    if isinstance(error, errors.DisabledRepoError):
        return "the repository is disabled", "choose another one"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such branch, tag or commit", "correct the revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository, or it is private", f"correct its name; if it is private, {LOG_IN}"
    if isinstance(error, errors.LocalEntryNotFoundError) or _is_of_the_network(error):
        return "the Hugging Face Hub cannot be reached", "check the network and HF_ENDPOINT, or give files on a disk"
    if isinstance(error, errors.EntryNotFoundError):
        return "the repository has no such file", "correct the name, or give another revision"
    if isinstance(error, errors.HfHubHTTPError) and status in (401, 403):
        return f"access is refused (HTTP {status})", f"ask for access on the repository's page, then {LOG_IN}"
    if isinstance(error, errors.HfHubHTTPError) and status is not None:
        return f"the Hugging Face Hub answers HTTP {status}", "try again later"
    if isinstance(error, errors.HFValidationError):
        return f"is not the name of a repository: {error}", "write it as owner/name"
    return None


def _is_of_the_network(error: BaseException) -> bool:
    """Whether it is one of the HTTP library's errors of a connection, which of its versions the client uses."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
