"""Which of the trained mixtures are natural, uniform, best so far, and the chosen one or the nearest to it."""

from __future__ import annotations

from contextlib import suppress

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.mixtures.anchors import reference_mixtures
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.stage import current_mixtures, prior_and_limits

OBJECTIVE = "objective (nats/token)"


def mixture_names(workspace: Workspace) -> dict[str, str]:
    """Name -> id of a current mixture, as far as the study's records show.

    ``natural`` and ``uniform`` where they are among the mixtures; ``best observed`` once losses were measured;
    ``chosen``, or ``nearest to chosen`` where the chosen mixture was not trained, once there is an optimum.
    """
    mixtures = current_mixtures(workspace)
    if not mixtures:
        return {}
    references = reference_mixtures(*prior_and_limits(workspace))
    names = {name: mixture.id for name, mixture in references.items() if mixture.id in mixtures}
    losses = {
        key: record.facts[OBJECTIVE]
        for key in mixtures
        if (record := workspace.records.current("proxy_losses", key)) and OBJECTIVE in record.facts
    }
    if losses:
        names["best observed"] = min(losses, key=lambda key: losses[key])
    # What comes after the mixtures may be damaged or gone: it is made again after them.
    with suppress(LedgerError):
        parts = workspace.json("optimal_mixture")["parts"]
        nearest = min(mixtures, key=lambda key: _moved(dict(mixtures[key].parts), parts))
        names["chosen" if dict(mixtures[nearest].parts) == parts else "nearest to chosen"] = nearest
    return names


def weights_in_words(mixture: Mixture, shown: int | None = None) -> str:
    """``code 45.1%, poems 27.9% and 3 more``: the heaviest ``shown`` domains, default all."""
    heaviest = sorted(mixture.parts, key=lambda each: (-each[1], each[0]))
    words = ", ".join(f"{name} {part / PARTS:.1%}" for name, part in heaviest[:shown])
    left = len(heaviest) - len(heaviest[:shown])
    return f"{words} and {left} more" if left else words


def _moved(these: dict[str, int], those: dict[str, int]) -> int:
    """Twice the parts of weight that differ."""
    return sum(abs(these.get(name, 0) - those.get(name, 0)) for name in {*these, *those})
