"""What an exported file says of its own origin: the decision, who approved it, when it was written."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import regmix_pipeline
from regmix_pipeline.decisions.verdicts import Verdict
from regmix_pipeline.engine.records import now
from regmix_pipeline.exports.data import DomainData

UNAPPROVED = "NOT APPROVED"


def approval(verdict: Verdict | None) -> str:
    """The last word on a decision in a sentence."""
    if verdict is None:
        return f"{UNAPPROVED}: nobody has approved this decision"
    said = f"by {verdict.by} on {verdict.said_at[:10]}: {verdict.reason}"
    return f"approved {said}" if verdict.said == "approved" else f"{UNAPPROVED}: rejected {said}"


@dataclass(frozen=True)
class Export:
    """Everything that a format writes from.

    Attributes:
        record: the decision.
        verdict: the last word on it; None while nobody said anything.
        data: domain -> its data, for every domain that is weighed.
        seed: seed of the trainer's own shuffling or choice.
        budget: tokens of the large run; None where nobody states them.
        documents: whether the samples of the large run are whole documents, and not pieces of equal length.
        main: name of the main file.
        exported_at: UTC time, ISO 8601.
    """

    record: Mapping[str, Any]
    verdict: Verdict | None
    data: Mapping[str, DomainData]
    seed: int = 42
    budget: int | None = None
    documents: bool = False
    main: str = ""
    exported_at: str = field(default_factory=now)

    @property
    def weights(self) -> dict[str, float]:
        """Domain -> share of the tokens, domains of weight zero left out."""
        return {domain: weight for domain, weight in self.record["mixture"]["weights"].items() if weight > 0}

    @property
    def max_epochs(self) -> float:
        """How often the large run may see the same token."""
        return float(self.record.get("limits", {}).get("max_epochs") or 4.0)

    @property
    def shares(self) -> dict[str, float]:
        """Domain -> share of the samples: of the documents where samples are documents, else of the tokens."""
        return document_shares(self.weights, self.data) if self.documents else self.weights

    def about(self) -> dict[str, Any]:
        """The origin as a mapping, for formats that can hold one."""
        return {
            "decision": self.record["decision"],
            "study": self.record["study"],
            "mixture": self.record["mixture"]["id"],
            "summary": self.record["summary"],
            "decided_at": self.record["decided_at"],
            "approval": approval(self.verdict),
            "approved": self.verdict is not None and self.verdict.said == "approved",
            "exported_at": self.exported_at,
            "exported_with": f"regmix-pipeline {regmix_pipeline.__version__}",
        }

    def comment(self, *notes: str) -> str:
        """The origin as comment lines, then the format's own notes, each begun with ``#``."""
        about = self.about()
        said = [
            f"Mixture {about['mixture']} of decision {about['decision']}, study {about['study']}, "
            f"decided {about['decided_at']}.",
            about["summary"],
            f"Approval: {about['approval']}",
            f"Written {about['exported_at']} by {about['exported_with']}.",
            *notes,
        ]
        return "".join(f"# {line}\n" for paragraph in said for line in _wrapped(paragraph))


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
            "The numbers are shares of documents, turned from the decision's shares of tokens with the mean tokens per "
            "document of the study's inventory."
        )
    return (
        "The numbers are shares of tokens although samples are documents: the study does not know the mean tokens per "
        "document, so domains of long documents will get more tokens than was decided."
    )
