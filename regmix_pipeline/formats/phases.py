"""Phases of a study file: the decided mixture, settled, for a study that chooses what comes after it."""

from __future__ import annotations

import yaml

from regmix_pipeline.errors import StudyError
from regmix_pipeline.formats.export import EarlierPhase, Export
from regmix_pipeline.formats.format import Format


def phases(export: Export) -> dict[str, str]:
    """The section `phases` up to the decided mixture; the next phase, whose mixture is to be chosen, goes below it.

    Raises:
        StudyError: nobody states the tokens of the run.
    """
    if not export.budget:
        raise StudyError(
            "a phase has tokens, and the study states none",
            where="--tokens",
            remedy="give the tokens of the run, or state limits.target_tokens",
        )
    settled = [*export.earlier, EarlierPhase(export.phase or "first", export.budget, export.weights)]
    listed = [{"name": each.name, "tokens": each.tokens, "mixture": dict(each.weights)} for each in settled]
    comment = export.comment(
        "Put this into the study file of the next phase, add a last phase with its name and tokens, and leave "
        "limits.target_tokens out. A domain that the next phase may not draw on stays among the domains, with cap: 0."
    )
    return {"": comment + yaml.safe_dump({"phases": listed}, sort_keys=False, allow_unicode=True)}


PHASES = Format(
    phases,
    ".yaml",
    "nothing",
    schedule=True,
    phases="is the section of a study file that chooses the phase after these",
)
