"""Names for partitions that are bare ids: what a mixture is, beside each of its materialisations and after a decision.

The id stays the key: it is the content, while what is best or chosen changes.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from regmix_pipeline.assets.names import asset_key
from regmix_pipeline.decisions.names import mixture_names, weights_in_words
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.stage import current_mixtures, rounds_of_mixtures
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES

MIXTURE = "regmix/mixture"
"""Tag of observations: the name of a partition's mixture."""


def marks_of(workspace: Workspace) -> dict[str, dict[str, str]]:
    """Mixture -> metadata that says which it is: its name and its round, where it has them, and its weights."""
    names, rounds = _names(workspace), rounds_of_mixtures(workspace)
    return {
        key: {
            **({"mixture": names[key]} if key in names else {}),
            **({"round": str(rounds[key])} if key in rounds else {}),
            "weights in words": weights_in_words(mixture),
        }
        for key, mixture in current_mixtures(workspace).items()
    }


def named_partitions(workspace: Workspace) -> Iterator[dg.AssetObservation]:
    """What the named mixtures are as of the current decision, for their partitions of both assets of proxies."""
    decision = workspace.need("mixture_decision").version
    for key, name in _names(workspace).items():
        for stage in (PROXY_CHECKPOINTS, PROXY_LOSSES):
            said = {"mixture": name, "decision": decision}
            yield dg.AssetObservation(
                asset_key(workspace, stage),
                partition=key,
                description=name,
                metadata=said,
                tags={MIXTURE: name.replace(", ", ".").replace(" ", "_")},
            )


def _names(workspace: Workspace) -> dict[str, str]:
    """Id -> its names, as one text."""
    names: dict[str, list[str]] = {}
    for name, key in mixture_names(workspace).items():
        names.setdefault(key, []).append(name)
    return {key: ", ".join(of_key) for key, of_key in names.items()}
