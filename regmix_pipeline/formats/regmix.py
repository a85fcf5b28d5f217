"""RegMix's own configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format


def regmix_yaml(record: Mapping[str, Any]) -> str:
    """The mixture in the layout of RegMix's own configuration files, with the decision's id as a comment."""
    return f"# {record['decision']} of study {record['study']}\n# {record['summary']}\n" + _content(
        record["mixture"]["weights"], record["objective"]
    )


def regmix(export: Export) -> dict[str, str]:
    """The same with where the mixture comes from: shares of tokens, which RegMix's data loader draws from."""
    return {"": export.comment("Weights are shares of tokens.") + _content(export.mixture, export.objective)}


def _content(weights: Mapping[str, float], objective: Mapping[str, float]) -> str:
    content = {
        "train": {f"train_{domain}": weight for domain, weight in weights.items()},
        "valid": {f"valid_{target}": share for target, share in objective.items()},
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


REGMIX = Format(regmix, ".yaml", "nothing")
