"""Rounds: how a study's mixtures are spread over them, and which round comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.study.study import Study


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


def round_sizes(study: Study) -> tuple[int, ...]:
    """Mixtures of each round, as far as they are known before anything is trained; the first is sampled."""
    judged = study.counts_ngrams
    return study.mixtures.pilot_sizes if judged else study.mixtures.round_sizes


def has_pilots(study: Study) -> bool:
    """Whether the first round's mixtures are pilots, by which n-gram counts are judged."""
    return round_sizes(study) != study.mixtures.round_sizes


def how_chosen(number: int, judged: bool, trusted: bool) -> Literal["sampled", "proposed", "none"]:
    """Where the mixtures of a round after the first come from.

    Args:
        number: of the round, 2 or higher.
        judged: whether the first round's mixtures are pilots, by which n-gram counts are judged.
        trusted: whether the counts are trusted by what was measured so far: then one round follows the pilots.

    >>> [how_chosen(number, judged=True, trusted=False) for number in (2, 3)]
    ['sampled', 'proposed']
    >>> [how_chosen(number, judged=True, trusted=True) for number in (2, 3)]
    ['proposed', 'none']
    """
    if trusted:
        return "proposed" if number == 2 else "none"
    return "sampled" if judged and number == 2 else "proposed"


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


def after(count: int, sizes: Sequence[int], first: int, numbers: Sequence[int]) -> dict[str, int] | None:
    """The round after the mixtures listed so far, as JSON; None where the study's count is spent.

    Args:
        count: of the study's mixtures.
        sizes: of the rounds, see `round_sizes`.
        first: mixtures of the first round, and runs that replace some of them.
        numbers: the round of each listed mixture of later rounds.
    """
    left = count - first - len(numbers)
    if len(sizes) == 1 or left <= 0:
        return None
    number = max(numbers, default=1) + 1
    size = min(sizes[number - 1] if number <= len(sizes) else max(sizes[1:], default=left), left)
    if number >= len(sizes):
        size = left
    more = -(-(left - size) // max(size, 1))
    return NextRound(number, number + min(more, max(len(sizes) - number, 0)), size, left)._asdict()


def next_round(workspace: Workspace) -> NextRound | None:
    """The round that comes after the current mixtures; None where their count is spent, or nothing is trained.

    Raises:
        LedgerError: there is no list of mixtures.
    """
    if not workspace.study.trains:
        return None
    found: dict[str, Any] | None = workspace.json("mixtures").get("next_round")
    return None if found is None else NextRound(**found)
