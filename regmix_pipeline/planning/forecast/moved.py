"""Whether the branch that the study's tokenizer was fetched from has moved since."""

from __future__ import annotations

from collections.abc import Iterator

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import TokenError
from regmix_pipeline.hub import PATIENCE, commit_of, is_commit


def moved_branch(workspace: Workspace) -> Iterator[str]:
    """A line where the tokenizer's branch is at another commit than the study's, or where nobody can tell; the study
    keeps its own either way. None for a commit, a file, or a tokenizer that was not fetched yet."""
    settings, record = workspace.study.tokenizer, workspace.records.current("tokenizer")
    kept = record.facts.get("commit") if record is not None else None
    if settings is None or settings.hub is None or kept is None or is_commit(settings.revision):
        return
    branch = f"{settings.revision or 'main'} of {settings.hub}"
    try:
        now = commit_of(settings.hub, settings.revision, patience=PATIENCE)
    except TokenError as error:
        yield f"whether {branch} has moved is not known: {error.problem}"
        return
    if now != kept:
        yield (
            f"{branch} has moved from {kept[:12]} to {now[:12]}; the study keeps the tokenizer that it has. "
            f"`tokenizer.revision: {now}` takes the new one"
        )
