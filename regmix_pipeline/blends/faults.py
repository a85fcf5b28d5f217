"""What is wrong with a blend, and what it means for the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from regmix_pipeline.blends.blend import Blend, Source
from regmix_pipeline.numbers import amount, percent

ROUNDING = 0.005
"""By how much a sum of weights that the trainer normalises may differ from 1, or from 100, and be rounding."""
NEAR, FAR = 0.01, 0.05
"""Weights are taken for shares of documents where none differs from them by more than the first, and one differs from
the shares of tokens by more than the second."""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        kind: sum, repeated, epochs, unused, documents, unknown, cap, floor, far, regret.
        where: source, or file.
        problem: what is wrong, in a sentence.
        remedy: what to do about it.
    """

    kind: str
    where: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Row:
    """What a source is in the run.

    Attributes:
        name: of the source.
        weight: as the file states it.
        share: of the run's tokens.
        tokens: that the run draws from it; None without a budget.
        available: tokens that it holds; None where nobody says.
        epochs: the first over the second.
        max_epochs: how many are allowed.
    """

    name: str
    weight: float
    share: float
    tokens: float | None
    available: float | None
    epochs: float | None
    max_epochs: float


def in_the_run(
    blend: Blend,
    counts: Mapping[str, Mapping[str, float]],
    budget: float | None,
    max_epochs: float,
    of_documents: bool = False,
) -> list[Row]:
    """What each source is in the run.

    Args:
        blend: the blend.
        counts: name of a source -> tokens, documents and max_epochs; they go before the blend's own.
        budget: tokens of the run; None where nobody states them.
        max_epochs: where nothing says it for a source.
        of_documents: whether weights are chances of a document, so that sources of long documents give more tokens.
    """
    known = [_counted(source, counts) for source in blend.sources]
    factors = [
        each["tokens"] / each["documents"] if of_documents and each.get("documents") and each.get("tokens") else 1.0
        for each in known
    ]
    total = sum(source.weight * factor for source, factor in zip(blend.sources, factors, strict=True)) or 1.0
    shares: Counter[str] = Counter()
    for source, factor in zip(blend.sources, factors, strict=True):
        shares[source.name] += source.weight * factor / total  # pyright: ignore[reportArgumentType]
    rows = []
    for source, each, factor in zip(blend.sources, known, factors, strict=True):
        share, available = source.weight * factor / total, each.get("tokens")
        drawn = None if budget is None else share * budget
        # Of a source that is listed twice, both draw on the same tokens.
        epochs = None if budget is None or not available else shares[source.name] * budget / available
        most = each.get("max_epochs", max_epochs)
        rows.append(Row(source.name, source.weight, share, drawn, available, epochs, most))
    return rows


def _counted(source: Source, counts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    own = {"tokens": source.tokens, "documents": source.documents, "max_epochs": source.max_epochs}
    return {name: value for name, value in own.items() if value is not None} | dict(counts.get(source.name, {}))


def faults_of(
    blend: Blend,
    rows: Sequence[Row],
    counts: Mapping[str, Mapping[str, float]],
    context: int,
    of_documents: bool = False,
) -> list[Fault]:
    """What is wrong with a blend by itself.

    Args:
        blend: the blend.
        rows: what its sources are in the run.
        counts: as of `in_the_run`.
        context: tokens of a sequence of the run.
        of_documents: whether weights are chances of a document, and are meant to be.
    """
    found = [*_sum(blend), *_repeated(blend), *_drawn(rows, context), *_epochs(rows)]
    if not of_documents:
        found += _documents(blend, counts)
    return found


def _sum(blend: Blend) -> Iterator[Fault]:
    total = blend.total
    if total <= 0:
        yield Fault("sum", str(blend.path), "every weight is 0", "give a source a weight above 0")
        return
    if blend.refuses is not None:
        if abs(total - 1) > blend.refuses:
            yield Fault(
                "sum",
                str(blend.path),
                f"the weights sum to {total:.6g}, and {blend.format} refuses any sum but 1",
                f"divide each weight by {total:.6g}",
            )
        return
    if min(abs(total - 1), abs(total / 100 - 1)) > ROUNDING:
        largest = max(blend.sources, key=lambda source: source.weight)
        yield Fault(
            "sum",
            str(blend.path),
            f"the weights sum to {total:.6g}; a trainer that divides by the sum draws "
            f"{percent(largest.weight / total)} of {largest.name}, where {largest.weight:g} is written",
            "correct the weight that is wrong, or divide each by the sum",
        )


def _repeated(blend: Blend) -> Iterator[Fault]:
    times = Counter(source.name for source in blend.sources)
    for name, number in times.items():
        if number > 1:
            total = sum(source.weight for source in blend.sources if source.name == name) / (blend.total or 1)
            yield Fault(
                "repeated",
                name,
                f"is listed {number} times, with {percent(total)} together",
                "list it once",
            )


def _drawn(rows: Sequence[Row], context: int) -> Iterator[Fault]:
    for row in rows:
        if row.weight == 0:
            yield Fault(
                "unused",
                row.name,
                "has the weight 0: it is never drawn, and some trainers refuse it",
                "leave it out, or write the weight with more digits if it was rounded",
            )
        elif row.tokens is not None and row.tokens < context:
            yield Fault(
                "unused",
                row.name,
                f"gets {row.tokens:.0f} of the run's tokens, less than one sequence of {context:,}",
                "raise its weight, or leave it out",
            )


def _epochs(rows: Sequence[Row]) -> Iterator[Fault]:
    for row in rows:
        if row.epochs is not None and row.epochs > row.max_epochs * (1 + 1e-6):
            yield Fault(
                "epochs",
                row.name,
                f"is read {row.epochs:,.3g} times: {amount(row.tokens)} tokens are drawn of {amount(row.available)}, "
                f"{row.max_epochs:g} epochs are allowed",
                f"lower its share from {percent(row.share)} to {_written_share(row)}, or add text",
            )


def _written_share(row: Row) -> str:
    assert row.epochs is not None
    share = 100 * row.share * row.max_epochs / row.epochs
    return f"{share:.3g}%"


def _documents(blend: Blend, counts: Mapping[str, Mapping[str, float]]) -> Iterator[Fault]:
    """The fault that weights are shares of documents, where the counts say how long documents are."""
    known = [_counted(source, counts) for source in blend.sources]
    if len(known) < 2 or not all(each.get("documents") and each.get("tokens") for each in known):
        return
    documents, tokens = (sum(each[what] for each in known) for what in ("documents", "tokens"))
    total = blend.total or 1.0
    shares = [source.weight / total for source in blend.sources]
    of_documents = [each["documents"] / documents for each in known]
    of_tokens = [each["tokens"] / tokens for each in known]
    off = [abs(one - two) for one, two in zip(shares, of_tokens, strict=True)]
    if max(abs(one - two) for one, two in zip(shares, of_documents, strict=True)) > NEAR or max(off) <= FAR:
        return
    worst = off.index(max(off))
    yield Fault(
        "documents",
        str(blend.path),
        f"the weights are each source's share of the documents: {blend.sources[worst].name} holds "
        f"{percent(of_documents[worst])} of them and {percent(of_tokens[worst])} of the tokens, and the trainer draws "
        "tokens by these weights",
        "weigh by tokens, or say --weights-of documents if the trainer draws whole documents",
    )
