"""A decided mixture as files on disk: approved, unaltered, and within its caps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import regmix_pipeline
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.journal_check import HeadSource, heads_of, journal_differences, no_reported_heads
from regmix_pipeline.decisions.phases import phases_in_words
from regmix_pipeline.decisions.signed import need_signature
from regmix_pipeline.decisions.verdicts import Verdict, need_approval, verdicts_of
from regmix_pipeline.decisions.verification import decision_differences
from regmix_pipeline.engine.records import now
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.exports.data import basis_of, data_of
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.formats.export import Export, Origin, drawn_before, earlier_phases
from regmix_pipeline.formats.files import counted, main_file, texts_of, write_texts
from regmix_pipeline.formats.format import Format
from regmix_pipeline.formats.plan import Drawn, by_domain, sampling_plan
from regmix_pipeline.study.phases_of_decision import as_last_phase, chosen_together
from regmix_pipeline.study.repetition import own_epochs

UNAPPROVED = "NOT APPROVED"


def approval(verdict: Verdict | None) -> str:
    """The last word on a decision in a sentence."""
    if verdict is None:
        return f"{UNAPPROVED}: nobody has approved this decision"
    said = f"by {verdict.by} on {verdict.said_at[:10]}: {verdict.reason}"
    return f"approved {said}" if verdict.said == "approved" else f"{UNAPPROVED}: rejected {said}"


def origin_of(record: Mapping[str, Any], verdict: Verdict | None) -> Origin:
    """A decision and the last word on it, as exported files say it; ``verdict`` is None while nobody said anything."""
    about = {
        "decision": record["decision"],
        "study": record["study"],
        "mixture": record["mixture"]["id"],
        "summary": record["summary"],
        "decided_at": record["decided_at"],
        "approval": approval(verdict),
        "approved": verdict is not None and verdict.said == "approved",
        "exported_at": now(),
        "exported_with": f"regmix-pipeline {regmix_pipeline.__version__}",
    }
    lines = (
        f"Mixture {about['mixture']} of decision {about['decision']}, study {about['study']}, "
        f"decided {about['decided_at']}.",
        about["summary"],
        f"Approval: {about['approval']}",
        f"Written {about['exported_at']} by {about['exported_with']}.",
    )
    return Origin(record["decision"], about, lines)


@dataclass(frozen=True)
class Written:
    """What an export wrote.

    Attributes:
        export: what it was written from.
        files: the main file first.
        domains: the sampling plan's totals, a row per domain; empty without a budget.
        rows: the sampling plan, a row per file; empty without a budget.
    """

    export: Export
    files: tuple[Path, ...]
    domains: list[dict[str, Any]]
    rows: list[Drawn]

    def as_json(self) -> dict[str, Any]:
        """The answer of `regmix export --json`."""
        return self.export.about() | {
            "files": [str(path) for path in self.files],
            "weights": self.export.weights,
            "shares": self.export.shares,
            "budget": self.export.budget,
            "domains": self.domains,
        }


def export_decision(
    workspace: Workspace,
    asked: str | None,
    name: str,
    *,
    out: Path | None = None,
    template: str | None = None,
    tokens: int | None = None,
    seed: int = 42,
    documents: bool | None = None,
    unapproved: bool = False,
    head_source: HeadSource = no_reported_heads,
    signers: Path | None = None,
    phase: str | None = None,
) -> Written:
    """Write a decision's mixture in a format, and beside it the sampling plan where a budget of tokens is known.

    Args:
        workspace: the study on disk.
        asked: the decision's id, the start of one, "previous", or None for the current one.
        name: one of `FORMATS`.
        out: the main file; the others get its name with their own endings. Default: named after the decision, in the
            working folder.
        template: address of a domain's data in the large run, with ``{domain}`` in it.
        tokens: tokens of the large run. Default: the decision's limits.target_tokens.
        seed: the trainer's seed.
        documents: whether the large run's samples are whole documents. Default: the format's usual way.
        unapproved: write it although nobody approved the decision; the files say so.
        head_source: heads of the journal that are kept outside the home's own files.
        signers: file of allowed signers, one of whom must have signed the approval.
        phase: of several that the decision chose at once, the one whose mixture is written. Default: the last.

    Raises:
        StudyError: no such format, or an option that it has no use for.
        LedgerError: the decision is not approved, its verdicts were altered, or its data cannot be found.
        MixtureError: the budget would repeat a domain more often than its cap.
        Nothing is written in any of these cases.
    """
    made = format_named(name, documents, tokens)
    if out is not None and out.is_dir():
        raise StudyError("is a folder", where=f"--out {out}", remedy="name the file to write")
    record = find_decision(workspace, asked)
    try:
        heads = heads_of(workspace, head_source)
    except LookupError:  # Dagster's event log cannot be read, which an audit says
        heads = heads_of(workspace)
    wrong = [each.what for each in decision_differences(workspace, record) if each.kind == "altered"]
    wrong += [f"the journal: {each.what}" for each in journal_differences(workspace, heads)]
    if wrong:
        raise LedgerError("; ".join(wrong), where=record["decision"], remedy="run `regmix audit`, restore the files")
    if not unapproved:
        need_approval(workspace, record["decision"])
        if signers is not None:
            need_signature(workspace, record["decision"], signers)
    said = verdicts_of(workspace, record["decision"])
    origin = _of_phases(origin_of(record, said[-1] if said else None), record, name, made, phase)
    # Of phases that were chosen at once, all but the last one are settled now.
    record = as_last_phase(record, phase)
    earlier = earlier_phases(record)
    basis = basis_of(workspace, record)
    if made.schedule:
        basis = replace(basis, domains=tuple(dict.fromkeys([*basis.domains, *drawn_before(earlier)])))
    data = data_of(workspace, basis, made.need, template)
    if template is not None:
        data = counted(data, made, basis.token_type)
    budget = tokens or record.get("limits", {}).get("target_tokens")
    main = out or main_file(Path(), record["decision"], name, made)
    export = Export(
        origin,
        record["mixture"]["weights"],
        record["objective"],
        data,
        float(record.get("limits", {}).get("max_epochs") or 4.0),
        seed,
        budget,
        documents=bool(made.documents if documents is None else documents),
        own_epochs=own_epochs(record),
        earlier=earlier,
        phase=record["phases"][-1]["name"] if record.get("phases") else "",
    )
    caps = {row["domain"]: row.get("cap") for row in record["domains"]}
    limits = export.max_epochs, caps, export.own_epochs, export.tokens_before
    plan = sampling_plan(export.weights, data, budget, *limits) if budget else []
    texts = texts_of(export, name, made, main, plan)
    write_texts(texts)
    return Written(export, tuple(texts), by_domain(plan, data), plan)


def _of_phases(origin: Origin, record: Mapping[str, Any], name: str, made: Format, phase: str | None = None) -> Origin:
    """The same with the run's phases, and what they mean for the format; as it is for a run of one."""
    phases = record.get("phases")
    if not phases:
        return origin
    how = f"{name} {made.phases}."
    listed = [{"name": row["name"], "tokens": row["tokens"]} for row in phases]
    about = {**origin.about, "phases": listed, "phase": phase or phases[-1]["name"], "how_phases_are_run": how}
    this = [f"This is the mixture of {phase or phases[-1]['name']}."] if chosen_together(record) else []
    return replace(origin, about=about, lines=(*origin.lines, *phases_in_words(record), *this, how))


def format_named(name: str, documents: bool | None, tokens: int | None) -> Format:
    """A format, and whether these options fit it. Raises StudyError where they do not."""
    found: Format = FORMATS.find(name, f"--format {name}")
    if tokens is not None and tokens < 1:
        raise StudyError(f"{tokens:,} tokens are not a budget", where="--tokens", remedy="give at least 1")
    if documents is not None and found.documents is None:
        others = ", ".join(each for each in FORMATS if FORMATS[each].documents is not None)
        raise StudyError(
            f"{name} always counts tokens, so nothing is to be turned into documents",
            where="--documents / --packed",
            remedy=f"leave it out; it is for {others}",
        )
    return found
