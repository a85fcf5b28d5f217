"""Megatron-LM, Megatron Bridge and NeMo: weights and prefixes in turn."""

from __future__ import annotations

import re
from typing import Any

from regmix_pipeline.blends.blend import Blend, Content, Source, in_turn

FIELDS = ("data_path", "data_prefix", "paths", "blend", "train")
"""Fields that hold the list: of Megatron Bridge, NeMo 1, NeMo 2, and of splits given one by one."""


def megatron(content: Content) -> Blend | None:
    """A list of weights and prefixes in turn: the text of ``--data-args-path`` or of ``--data-path``, or a YAML or JSON
    that holds it. The library divides the weights by their sum."""
    found = _held(content.value, content)
    if found is None and isinstance(content.value, list):
        found = in_turn(content.value, content.at("list"))
    if found is None:
        words = re.sub(r"--(train-)?data-path", " ", content.text).replace("\\\n", " ").split()
        found = in_turn(words, content.at("weights"))
    return Blend("megatron", content.path, found) if found else None


def _held(value: Any, content: Content, depth: int = 6) -> tuple[Source, ...] | None:
    """The first such list in a configuration, whatever it lies below."""
    if not isinstance(value, dict) or not depth:
        return None
    for field in FIELDS:
        held = value.get(field)
        if isinstance(held, list | str):
            found = in_turn(held.split() if isinstance(held, str) else held, content.at(field))
            if found:
                return found
    below = (_held(each, content, depth - 1) for each in value.values())
    return next((found for found in below if found), None)
