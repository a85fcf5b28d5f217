"""Windows of context + 1 tokens into a shard, memory-mapped, and the order in which a proxy sees them.

Which window a domain's k-th draw takes is a pure function of (seed, domain, k): every epoch is a new keyed permutation
of the domain's windows. Two proxies with the same seed see a domain in the same order, whatever their mixtures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import read_json, write_json
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.proxies.permutation import key_of, permuted
from regmix_pipeline.proxies.quota import draw_numbers, multinomial_schedule, quota_schedule
from regmix_pipeline.proxies.spec import ProxySpec, TokenFile
from regmix_pipeline.study.coordinates import domain_of, domains_of, phase_of
from regmix_pipeline.tokens.extents import BACK, ENDING, Tokens, altered_file, opened_tokens, sha256_of_tokens, stamps
from regmix_pipeline.tokens.manifest import BYTES_OF

_ONE: Mapping[str, int] = {}
_REMEDY = "make the shard again: delete its folder and rerun"


def check_token_file(file: TokenFile) -> None:
    """Look at a token file.

    Raises:
        TokenError: it is missing, has not the stated length, or was altered.
    """
    path, expected = file.path, file.tokens * BYTES_OF[file.dtype]
    if not path.is_file():
        raise TokenError("the token file is missing", where=str(path), remedy=_REMEDY)
    in_place = path.suffix == ENDING
    size = len(opened_tokens(path, file.dtype)) * BYTES_OF[file.dtype] if in_place else path.stat().st_size
    if size != expected:
        raise TokenError(f"the token file has {size} bytes, not {expected}", where=str(path), remedy=_REMEDY)
    _check_unaltered(file)


def _check_unaltered(file: TokenFile) -> None:
    """Compare a token file with its checksum, once as long as nobody writes to it: a note beside it says which bytes
    were checked.

    Raises:
        TokenError: it was altered.
    """
    if not file.sha256:
        return
    note = file.path.with_name(f".{file.path.name}.checked")
    checked = [file.sha256, *(number for stamp in stamps(file.path) for number in stamp)]
    with contextlib.suppress(OSError, ValueError):
        if read_json(note) == checked:
            return
    if sha256_of_tokens(file.path, file.dtype) != file.sha256:
        outside = file.path.suffix == ENDING
        where = str(altered_file(file.path) if outside else file.path)
        raise TokenError(
            "the token file was altered after it was made", where=where, remedy=BACK if outside else _REMEDY
        )
    with contextlib.suppress(OSError):  # read-only shards are checked by every worker
        write_json(note, checked)


@dataclass(frozen=True)
class Windows:
    """The windows of one token file. Window i holds tokens [i T, i T + T]: inputs and, one later, their labels.

    Neighbours share one token, so every token but the first is a label once.
    """

    file: TokenFile
    context: int

    def __post_init__(self) -> None:
        """Check the file.

        Raises:
            TokenError: it is missing, has not the stated length, or holds less than one window.
        """
        check_token_file(self.file)
        if self.count < 1:
            raise TokenError(
                f"{self.file.tokens} tokens are less than a window of {self.context} + 1",
                where=str(self.file.path),
                remedy="add text, or lower the model's context",
            )

    @property
    def count(self) -> int:
        """Number of windows: (tokens - 1) // context."""
        return (self.file.tokens - 1) // self.context

    @cached_property
    def tokens(self) -> Tokens:
        """All tokens, memory-mapped."""
        return opened_tokens(self.file.path, self.file.dtype)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Windows as rows, shape (len(indices), context + 1)."""
        rows = np.empty((len(indices), self.context + 1), dtype=np.int64)
        for row, start in enumerate((np.asarray(indices) * self.context).tolist()):
            rows[row] = self.tokens[start : start + self.context + 1]
        return rows

    def evenly_spaced(self, number: int) -> NDArray[np.int64]:
        """Indices of at most ``number`` windows at equal distances, increasing; all of them if there are fewer."""
        number = min(number, self.count)
        return ((2 * np.arange(number, dtype=np.int64) + 1) * self.count) // (2 * number)


@dataclass(frozen=True)
class Before:
    """What earlier phases drew of a domain.

    Attributes:
        draws: windows, repetition counted.
        seed: of the model that drew them.
    """

    draws: int
    seed: int


def domain_order(
    seed: int,
    domain: str,
    draws: NDArray[np.int64],
    windows: int,
    available: int,
    before: Before | None = None,
) -> NDArray[np.int64]:
    """The window of each of a domain's draws.

    Args:
        seed: the proxy's seed.
        domain: name of the domain.
        draws: draw numbers k from 0, shape (m,).
        windows: windows in the shard.
        available: windows the proxy may see, at most ``windows``; which ones is a keyed choice, the same in every
            epoch, and a smaller choice is part of a larger one.
        before: what earlier phases drew. The epoch that they began is drawn to its end first, in an order of this
            seed, so that no window comes again before all have come; with their own seed their order goes on.

    Returns:
        Window indices, shape (m,): a permutation of the available ones in each epoch of ``available`` draws.
    """
    first = before or Before(0, seed)
    draws = draws + first.draws
    epochs, places = np.divmod(draws, available)
    order = permuted(places, available, key_of("order", seed, domain), epochs)
    if first.seed != seed and (begun := first.draws % available):
        rest = epochs == first.draws // available
        left = begun + permuted(places[rest] - begun, available - begun, key_of("rest", seed, domain))
        order[rest] = permuted(left, available, key_of("order", first.seed, domain), first.draws // available)
    return order if available == windows else permuted(order, windows, key_of("choice", first.seed, domain))


def drawn_before(spec: ProxySpec) -> dict[str, Before]:
    """Domain -> what the earlier phases of a proxy drew of it; domains that they did not draw on are left out."""
    if spec.start is None:
        return {}
    start, found = spec.start, drawn_before(spec.start)
    windows = start.training.steps(start.model.context) * start.training.windows_per_step
    schedule = schedule_of(start.exact_mixture, windows, start.training.draws, start.seed)
    counts = np.bincount(schedule, minlength=len(start.exact_mixture.parts)).tolist()
    for (domain, _), count in zip(start.exact_mixture.parts, counts, strict=True):
        found[domain] = Before(count + (found[domain].draws if domain in found else 0), start.seed)
    return found


def schedule_of(
    mixture: Mixture,
    windows: int,
    draws: Literal["quota", "multinomial"],
    seed: int,
    phases: Mapping[str, int] = _ONE,
) -> NDArray[np.int32]:
    """The domain of each window, as an index into ``mixture.parts``, shape (windows,); see `TrainingSettings.draws`.

    Of several phases, phase -> parts per million, each draws its own block of the weights in its own windows.
    """
    if not phases:
        return quota_schedule(mixture, windows) if draws == "quota" else multinomial_schedule(mixture, windows, seed)
    place = {name: number for number, (name, _) in enumerate(mixture.parts)}
    found = np.empty(windows, dtype=np.int32)
    for phase, (first, end) in windows_of_phases(phases, windows).items():
        block = block_of(mixture, phase)
        columns = np.array([place[name] for name, _ in block.parts], dtype=np.int32)
        mine = (
            schedule_of(block, end - first, draws, seed)
            if draws == "quota"
            else schedule_of(block, windows, draws, seed)[first:end]
        )
        found[first:end] = columns[mine]
    return found


def block_of(mixture: Mixture, phase: str) -> Mixture:
    """The weights of a phase, normalised, under the names that they have."""
    return Mixture.from_weights({name: weight for name, weight in mixture.weights.items() if phase_of(name) == phase})


def windows_of_phases(phases: Mapping[str, int], windows: int) -> dict[str, tuple[int, int]]:
    """Phase -> its first window and the one after its last, of so many in all.

    >>> windows_of_phases({"pretraining": 666_667, "annealing": 333_333}, 100)
    {'pretraining': (0, 67), 'annealing': (67, 100)}
    """
    found, before = {}, 0
    for phase, part in phases.items():
        first, before = before, before + part
        found[phase] = tuple((2 * end * windows + PARTS) // (2 * PARTS) for end in (first, before))
    return found


@dataclass(frozen=True)
class DomainUse:
    """What a proxy drew from a domain.

    Attributes:
        windows: windows drawn.
        tokens: tokens trained on: windows x context.
        available_tokens: tokens it could see without repetition.
        epochs: tokens / available tokens.
    """

    windows: int
    tokens: int
    available_tokens: int
    epochs: float


class TrainingWindows:
    """All windows of a proxy's training, in order; step n is a function of n alone.

    Args:
        mixture: the mixture.
        shards: domain -> training tokens.
        context: tokens per window.
        total: windows to draw in all.
        seed: the proxy's seed.
        available: domain -> windows the proxy may see; default all.
        draws: how each window's domain is chosen; see `TrainingSettings.draws`.
        before: domain -> what earlier phases drew of it; default nothing.
        phases: phase -> parts per million of the training, where the mixture holds one for each of several phases: the
            draws of a domain go on from one to the next, as those of one mixture would.

    Raises:
        TokenError: see `Windows`.
    """

    def __init__(
        self,
        mixture: Mixture,
        shards: Mapping[str, TokenFile],
        context: int,
        total: int,
        seed: int,
        available: Mapping[str, int] | None = None,
        draws: Literal["quota", "multinomial"] = "quota",
        before: Mapping[str, Before] | None = None,
        phases: Mapping[str, int] = _ONE,
    ) -> None:
        self.mixture, self.context, self.total = mixture, context, total
        self.names = [name for name, _ in mixture.parts]
        self.domains = list(domains_of(self.names))
        self.windows = [Windows(shards[domain], context) for domain in self.domains]
        self.by_weight = schedule_of(mixture, total, draws, seed, phases)
        self.schedule = np.array([self.domains.index(domain_of(name)) for name in self.names])[self.by_weight]
        numbers, _ = draw_numbers(self.schedule, len(self.domains))
        self.available = [
            min(windows.count, (available or {}).get(domain, windows.count))
            for domain, windows in zip(self.domains, self.windows, strict=True)
        ]
        order = np.empty(total, dtype=np.int64)
        for number, domain in enumerate(self.domains):
            mine = self.schedule == number
            count = self.windows[number].count
            earlier = (before or {}).get(domain)
            order[mine] = domain_order(seed, domain, numbers[mine], count, self.available[number], earlier)
        self._starts: list[int] = (order * context).tolist()
        self._domains: list[int] = self.schedule.tolist()

    def read(self, first: int, number: int) -> NDArray[np.int64]:
        """Windows ``first`` to ``first + number - 1`` of the training, shape (number, context + 1)."""
        rows = np.empty((number, self.context + 1), dtype=np.int64)
        files = [windows.tokens for windows in self.windows]
        length = self.context + 1
        for row in range(number):
            start = self._starts[first + row]
            rows[row] = files[self._domains[first + row]][start : start + length]
        return rows

    def used(self, windows: int) -> dict[str, DomainUse]:
        """What the first ``windows`` windows of the training draw by each positive weight of the mixture: from a
        domain, or from a domain in one of several phases."""
        counts = np.bincount(self.by_weight[:windows], minlength=len(self.names)).tolist()
        of_domain = dict(zip(self.domains, self.available, strict=True))
        available = [of_domain[domain_of(name)] for name in self.names]
        return {
            name: DomainUse(count, count * self.context, most * self.context, count / most)
            for name, count, most in zip(self.names, counts, available, strict=True)
        }


def within_quota(mixture: Mixture, drawn: Mapping[str, int], phases: Mapping[str, int] = _ONE) -> bool:
    """Whether counts of windows per domain are each within one window of weight x total, and nothing else was drawn;
    of several phases, in each of them, and whether each took its windows."""
    total = sum(drawn.values())
    if phases:
        taken = {phase: {name: count for name, count in drawn.items() if phase_of(name) == phase} for phase in phases}
        return sum(len(each) for each in taken.values()) == len(drawn) and all(
            sum(taken[phase].values()) == end - first and within_quota(block_of(mixture, phase), taken[phase])
            for phase, (first, end) in windows_of_phases(phases, total).items()
        )
    parts = dict(mixture.parts)
    return set(drawn) <= set(parts) and all(
        abs(drawn.get(domain, 0) * PARTS - part * total) < PARTS for domain, part in parts.items()
    )
