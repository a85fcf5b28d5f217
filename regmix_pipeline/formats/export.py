"""What a format writes from: a mixture, where it comes from, and the data that it draws on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regmix_pipeline.formats.data import DomainData
from regmix_pipeline.study.phases import tokens_drawn
from regmix_pipeline.study.phases_of_decision import phases_decided


@dataclass(frozen=True)
class Origin:
    """Where a mixture comes from, as its files say it.

    Attributes:
        id: short id of the decision or the mixture, for names of folders.
        about: the same for formats that can hold a mapping; JSON-able.
        lines: the same in sentences, for formats with comments.
    """

    id: str
    about: Mapping[str, Any]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class TargetTokens:
    """Validation tokens of a target, for a trainer that measures its own losses; see `proxies.spec.TargetFile`."""

    file: str
    dtype: str
    tokens: int
    bytes: int


@dataclass(frozen=True)
class EarlierPhase:
    """A phase of the run that comes before the exported mixture.

    Attributes:
        name: its name.
        tokens: tokens that it draws.
        weights: domain -> share of them.
    """

    name: str
    tokens: int
    weights: Mapping[str, float]


def earlier_phases(record: Mapping[str, Any]) -> tuple[EarlierPhase, ...]:
    """The phases before the last of a decision's record; none for a run of one."""
    return tuple(EarlierPhase(row["name"], row["tokens"], row["mixture"]) for row in phases_decided(record)[:-1])


def drawn_before(phases: Iterable[EarlierPhase]) -> dict[str, int]:
    """Domain -> tokens that phases draw of it; domains that they do not draw on are left out."""
    return tokens_drawn((phase.tokens, phase.weights) for phase in phases)


@dataclass(frozen=True)
class Export:
    """Everything that a format writes from.

    Attributes:
        origin: where the mixture comes from.
        mixture: domain -> share of the tokens.
        objective: target -> share of the objective.
        data: domain -> its data, for every domain that is weighed.
        max_epochs: how often the run may see the same token, of domains that `own_epochs` does not name.
        seed: seed of the trainer's own shuffling or choice.
        budget: tokens of the run; None where nobody states them.
        documents: whether the samples of the run are whole documents, and not pieces of equal length.
        main: name of the main file.
        targets: target -> its validation tokens; empty where the trainer gets none.
        own_epochs: domain -> how often the run may see its tokens.
        earlier: phases of the run that come before the mixture, in order.
        phase: name of the mixture's own phase; "" in a run of one.
    """

    origin: Origin
    mixture: Mapping[str, float]
    objective: Mapping[str, float]
    data: Mapping[str, DomainData]
    max_epochs: float = 4.0
    seed: int = 42
    budget: int | None = None
    documents: bool = False
    main: str = ""
    targets: Mapping[str, TargetTokens] = field(default_factory=dict)
    own_epochs: Mapping[str, float] = field(default_factory=dict)
    earlier: tuple[EarlierPhase, ...] = ()
    phase: str = ""

    def epochs_of(self, domain: str) -> float:
        """How often the run may see a domain's tokens, less what earlier phases saw."""
        most, available = self.own_epochs.get(domain, self.max_epochs), self.data[domain].available
        return most - (self.tokens_before.get(domain, 0) / available if available else 0.0)

    @property
    def tokens_before(self) -> dict[str, int]:
        """Domain -> tokens that earlier phases draw of it; domains that they do not draw on are left out."""
        return drawn_before(self.earlier)

    @property
    def weights(self) -> dict[str, float]:
        """Domain -> share of the tokens, domains of weight zero left out."""
        return {domain: weight for domain, weight in self.mixture.items() if weight > 0}

    @property
    def shares(self) -> dict[str, float]:
        """Domain -> share of the samples: of the documents where samples are documents, else of the tokens."""
        return self.shares_of(self.weights)

    def shares_of(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The same of any mixture over the export's data."""
        return document_shares(weights, self.data) if self.documents else dict(weights)

    @property
    def repeated(self) -> dict[str, float]:
        """Domain -> epochs, of the domains that the run reads more than once, as far as that is known: a run of the
        budget, and the phases before it."""
        before = self.tokens_before
        epochs = {
            domain: (before.get(domain, 0) + (self.budget or 0) * weight) / available
            for domain, weight in self.weights.items()
            if (available := self.data[domain].available)
        }
        return {domain: round(times, 3) for domain, times in epochs.items() if times > 1}

    def about(self) -> dict[str, Any]:
        """The origin as a mapping, for formats that can hold one."""
        return dict(self.origin.about)

    def comment(self, *notes: str) -> str:
        """The origin as comment lines, then the format's own notes, each begun with ``#``."""
        return "".join(f"# {line}\n" for paragraph in (*self.origin.lines, *notes) for line in _wrapped(paragraph))


def _wrapped(paragraph: str) -> list[str]:
    return textwrap.wrap(" ".join(paragraph.split()), 116, break_long_words=False, break_on_hyphens=False)


def document_shares(weights: Mapping[str, float], data: Mapping[str, DomainData]) -> dict[str, float]:
    """Shares of documents that give the tokens their ``weights``: weight / mean tokens per document, normalised.

    Where the mean of a domain is not known, shares of tokens are all there is; `counts_of` says so.
    """
    means = {domain: data[domain].tokens_per_document for domain in weights}
    if not all(means.values()):
        return dict(weights)
    documents = {domain: weight / (means[domain] or 1.0) for domain, weight in weights.items()}
    total = sum(documents.values())
    return {domain: count / total for domain, count in documents.items()}


def converts(export: Export) -> bool:
    """Whether the mean tokens per document of every domain are known."""
    return all(export.data[domain].tokens_per_document for domain in export.weights)


def counts_of(export: Export) -> str:
    """What the numbers of a format that counts samples are shares of, in a sentence for the file."""
    if not export.documents:
        return (
            "The numbers are shares of samples. They are shares of tokens too as long as every sample has equally many "
            "tokens: packed sequences, not whole documents."
        )
    if converts(export):
        return (
            "The numbers are shares of documents, turned from the mixture's shares of tokens with the mean tokens per "
            "document of the study's inventory."
        )
    return (
        "The numbers are shares of tokens although samples are documents: the study does not know the mean tokens per "
        "document, so domains of long documents will get more tokens than the mixture gives them."
    )
