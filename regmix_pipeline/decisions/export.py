"""A decided mixture as files that training code reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def regmix_yaml(record: Mapping[str, Any]) -> str:
    """The mixture in the layout of RegMix's own configuration files, with the decision's id as a comment."""
    content = {
        "train": {f"train_{domain}": weight for domain, weight in record["mixture"]["weights"].items()},
        "valid": {f"valid_{target}": share for target, share in record["objective"].items()},
    }
    head = f"# {record['decision']} of study {record['study']}\n# {record['summary']}\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
