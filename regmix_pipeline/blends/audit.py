"""The audit of a blend, from files to what is wrong, and how it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from regmix_pipeline.blends.against_study import BesideStudy, beside, domains_of
from regmix_pipeline.blends.blend import Blend
from regmix_pipeline.blends.faults import ROUNDING, Fault, Row, faults_of, in_the_run
from regmix_pipeline.blends.read import read_blend, read_counts
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.numbers import NONE, amount, decimals, percent, signed
from regmix_pipeline.study.phases import epochs_before
from regmix_pipeline.study.phases_of_decision import chosen_together
from regmix_pipeline.study.repetition import MAX_EPOCHS, max_epochs_of
from regmix_pipeline.study.study import Study
from regmix_pipeline.tables import show_table


@dataclass(frozen=True)
class BlendAudit:
    """What a blend is and what is wrong with it.

    Attributes:
        blend: as its file states it.
        rows: what its sources are in the run.
        faults: what is wrong; none where all is well.
        notes: what could not be checked.
        study: what a study predicts; None without one.
    """

    blend: Blend
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    study: BesideStudy | None

    def as_json(self) -> dict[str, Any]:
        """JSON of it."""
        return {
            "blend": str(self.blend.path),
            "format": self.blend.format,
            "sum": self.blend.total,
            "sources": [asdict(row) for row in self.rows],
            "faults": [asdict(fault) for fault in self.faults],
            "notes": list(self.notes),
            "study": None if self.study is None else asdict(self.study),
        }


def audit_blend(
    path: Path,
    form: str | None = None,
    *,
    counts: Path | None = None,
    budget: float | None = None,
    max_epochs: float | None = None,
    context: int = 4096,
    of_documents: bool = False,
    workspace: Workspace | None = None,
) -> BlendAudit:
    """Audit a blend.

    Args:
        path: its file.
        form: name of its format; by default the first that fits.
        counts: table of sources' tokens, and perhaps documents and max_epochs.
        budget: tokens of the run; by default what the blend or the study states.
        max_epochs: where nothing says it for a source; by default the study's, or `MAX_EPOCHS`.
        context: tokens of a sequence of the run.
        of_documents: whether weights are chances of a document.
        workspace: a study with a decision, to predict with.

    Raises:
        MixtureError: a file cannot be read.
        LedgerError: the study has no decision yet.
    """
    blend = read_blend(path, form)
    evidence, domains = None, {}
    known = read_counts(counts) if counts is not None else {}
    if workspace is not None:
        from regmix_pipeline.decisions.evidence import evidence_behind
        from regmix_pipeline.decisions.find import find_decision

        decision = find_decision(workspace)
        if chosen_together(decision):
            raise StudyError(
                "the decision is of several phases, and a blend is one mixture",
                where=decision["decision"],
                remedy="audit the blend without --study, or compare it with what `regmix export` writes of a phase",
            )
        evidence = evidence_behind(workspace, decision)
        limits = workspace.study.limits
        budget = budget or blend.budget or limits.target_tokens
        own = {} if max_epochs is not None else _epochs_left(workspace.study, evidence.inventory)
        max_epochs = limits.max_epochs if max_epochs is None else max_epochs
        domains = domains_of(blend, evidence.domains)
        known = _of_inventory(blend, evidence.inventory, domains, own) | known
    budget = budget or blend.budget
    most = MAX_EPOCHS if max_epochs is None else max_epochs
    rows = in_the_run(blend, known, budget, most, of_documents)
    faults, notes = faults_of(blend, rows, known, context, of_documents), _notes(blend, rows, known, budget)
    found = None
    if evidence is not None:
        found, more = beside(evidence, domains, rows)
        faults += more
    return BlendAudit(blend, tuple(rows), tuple(faults), tuple(notes), found)


def _epochs_left(study: Study, inventory: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Domain -> how often a run may see its tokens, less what earlier phases of the study's run saw."""
    before = epochs_before(study, {name: row["available_tokens"] for name, row in inventory.items()})
    return {name: max(most - before.get(name, 0.0), 0.0) for name, most in max_epochs_of(study).items()}


def _of_inventory(
    blend: Blend,
    inventory: Mapping[str, Mapping[str, Any]],
    domains: Mapping[str, str],
    max_epochs: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """What the study's inventory counts of each source, and how often the study lets a run see it."""
    found = {}
    for source in blend.sources:
        row = inventory.get(domains.get(source.name, ""), {})
        tokens, counted = row.get("available_tokens"), row.get("train_tokens")
        # What the large run can draw may be more than the study's own text, whose documents are as long.
        documents = tokens * row["train_documents"] / counted if tokens and counted else None
        counts = {"tokens": tokens, "documents": documents, "max_epochs": max_epochs.get(domains.get(source.name, ""))}
        found[source.name] = {what: float(number) for what, number in counts.items() if number is not None}
    return {name: counts for name, counts in found.items() if counts}


def _notes(blend: Blend, rows: list[Row], counts: Mapping[str, Mapping[str, float]], budget: float | None) -> list[str]:
    notes = []
    if budget is None:
        notes.append("epochs are not known: give the run's tokens with --budget")
    unknown = [row.name for row in rows if row.available is None]
    if unknown:
        notes.append(f"tokens are not known, so epochs are not checked, of {', '.join(unknown)}: give --tokens FILE")
    names = {source.name for source in blend.sources}
    unused = [name for name in counts if name not in names]
    if unused:
        notes.append(f"counted, but not in the blend: {', '.join(unused)}")
    if abs(blend.total / 100 - 1) <= ROUNDING:
        notes.append("the weights sum to 100 and are read as per cent")
    return notes


def show_blend_audit(found: BlendAudit, console: Console) -> None:
    """Print an audit."""
    rows = [
        (
            row.name,
            f"{row.weight:g}",
            percent(row.share),
            amount(row.tokens),
            amount(row.available),
            NONE if row.epochs is None else f"{row.epochs:,.3g}",
        )
        for row in found.rows
    ]
    headings = ("source", "weight", "share", "tokens", "available", "epochs")
    show_table(console, headings, rows, title=f"{found.blend.path}, read as {found.blend.format}")

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False)

    if found.study is not None:
        study = found.study
        say(
            f"predicted for a proxy: {decimals(study.predicted)} nats per token ({decimals(study.low)} to "
            f"{decimals(study.high)}), {signed(study.predicted - study.natural)} against the natural mixture; decision "
            f"{study.decision} {signed(study.chosen - study.natural)}; {study.distance:.2f} from the nearest mixture "
            f"that was measured, which lie {study.usual:.2f} apart"
        )
    for note in found.notes:
        say(f"note: {note}")
    for fault in found.faults:
        say(f"fault ({fault.kind}): {fault.where}: {fault.problem}\n  remedy: {fault.remedy}", "bold red")
    say(f"{len(found.faults)} faults" if len(found.faults) != 1 else "1 fault")
