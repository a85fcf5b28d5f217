"""RegMix's own configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from regmix_pipeline.exports.about import Export
from regmix_pipeline.exports.format import Format


def regmix_yaml(record: Mapping[str, Any]) -> str:
    """The mixture in the layout of RegMix's own configuration files, with the decision's id as a comment."""
    return f"# {record['decision']} of study {record['study']}\n# {record['summary']}\n" + _content(record)


def regmix(export: Export) -> dict[str, str]:
    """The same with the decision's approval: shares of tokens, which RegMix's data loader draws from."""
    return {"": export.comment("Weights are shares of tokens.") + _content(export.record)}


def _content(record: Mapping[str, Any]) -> str:
    content = {
        "train": {f"train_{domain}": weight for domain, weight in record["mixture"]["weights"].items()},
        "valid": {f"valid_{target}": share for target, share in record["objective"].items()},
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


REGMIX = Format(regmix, ".yaml", "nothing")
