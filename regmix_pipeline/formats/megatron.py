"""The blend of Megatron-LM, Megatron Bridge and NeMo: weights and prefixes of indexed datasets in turn."""

from __future__ import annotations

import yaml

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import json_text
from regmix_pipeline.formats.count import megatron_prefix
from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format


def megatron(export: Export) -> dict[str, str]:
    """The file for ``--data-args-path``, and beside it the same list as YAML for NeMo's ``paths``.

    Megatron splits the first at white space (megatron.core.datasets.utils.get_blend_from_list): it can hold neither a
    comment nor a path with a space, so the decision's approval is in the YAML and in the plan. Weights are normalised
    by the library and have to be positive. They are shares of samples of one sequence length, so of tokens.

    Raises:
        StudyError: a prefix has white space in it.
    """
    blend = blend_of(export)
    lines = "".join(f"{blend[place]} {blend[place + 1]}\n" for place in range(0, len(blend), 2))
    comment = export.comment(
        "Weights and prefixes in turn: Megatron Bridge's data_path, or paths of NeMo's PreTrainingDataModule; the .txt "
        "beside is for Megatron-LM's --data-args-path.",
        "Weights are shares of samples, each one sequence long, so shares of tokens. The library normalises them and "
        "repeats a domain as often as the run needs: it knows no limit on epochs, the plan does.",
    )
    return {"": lines, ".yaml": comment + yaml.safe_dump({"data_path": blend}, sort_keys=False, allow_unicode=True)}


def nemo(export: Export) -> dict[str, str]:
    """The same list as JSON, which NeMo AutoModel's ``MegatronPretraining`` takes as ``paths``: the training split.

    JSON has no comments, so the decision's approval is in the plan.

    Raises:
        StudyError: a prefix has white space in it.
    """
    return {"": json_text({"train": blend_of(export)})}


def blend_of(export: Export) -> list[str]:
    """Weights and prefixes in turn. Raises StudyError where a prefix has white space in it."""
    blend: list[str] = []
    for domain, weight in export.weights.items():
        prefix = export.data[domain].address.removesuffix(".bin").removesuffix(".idx")
        if prefix.split() != [prefix]:
            raise StudyError(
                f"the prefix {prefix!r} has white space in it, which Megatron splits at",
                where="--data",
                remedy="give a path without spaces",
            )
        blend += [repr(weight), prefix]
    return blend


MEGATRON = Format(
    megatron,
    ".txt",
    "template",
    silent=True,
    phases="takes one blend a start: give --phase-transition-iterations the iteration at which this phase begins, "
    "where Megatron-LM saves and exits, and start it again with this blend; Megatron Bridge and NeMo begin a run of "
    "their own from the last checkpoint of the phase before",
    count=megatron_prefix,
)
NEMO = Format(nemo, ".json", "template", silent=True, count=megatron_prefix)
