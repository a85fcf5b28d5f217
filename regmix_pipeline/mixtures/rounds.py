"""Rounds: how a study's mixtures are spread over them, and which round comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.study.settings.mixtures import MixtureSettings


class NextRound(NamedTuple):
    """The round that comes next.

    Attributes:
        number: 2 or higher; the sampled round is the first.
        of: rounds in all, as far as they are known.
        size: mixtures of this round.
        left: mixtures of this round and the later ones.
    """

    number: int
    of: int
    size: int
    left: int


def listed_of_rounds(
    settings: MixtureSettings, first: int, adopted: Sequence[tuple[Mixture, int | None]]
) -> list[tuple[Mixture, int]]:
    """The mixtures of later rounds that the study's count holds, each with its round, in order.

    Args:
        settings: of the study.
        first: mixtures of the first round, and runs that replace some of them.
        adopted: distinct mixtures that were asked for, each with its round.
    """
    later = [(mixture, number) for mixture, number in adopted if number is not None]
    return later[: max(settings.count - first, 0)]


def after(settings: MixtureSettings, first: int, numbers: Sequence[int]) -> dict[str, int] | None:
    """The round after the mixtures listed so far, as JSON; None where the study's count is spent.

    Args:
        settings: of the study.
        first: mixtures of the first round, and runs that replace some of them.
        numbers: the round of each listed mixture of later rounds.
    """
    left = settings.count - first - len(numbers)
    if settings.rounds.number == 1 or left <= 0:
        return None
    sizes = settings.round_sizes
    number = max(numbers, default=1) + 1
    size = min(sizes[number - 1] if number <= len(sizes) else max(sizes[1:], default=left), left)
    if number >= settings.rounds.number:
        size = left
    more = -(-(left - size) // max(size, 1))
    return NextRound(number, number + min(more, max(settings.rounds.number - number, 0)), size, left)._asdict()


def next_round(workspace: Workspace) -> NextRound | None:
    """The round that comes after the current mixtures; None where their count is spent, or nothing is trained.

    Raises:
        LedgerError: there is no list of mixtures.
    """
    if not workspace.study.trains:
        return None
    found: dict[str, Any] | None = workspace.json("mixtures").get("next_round")
    return None if found is None else NextRound(**found)
