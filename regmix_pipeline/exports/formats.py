"""The formats by name, and the one way from a decision to files on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regmix_pipeline.decisions.find import find_decision, record_named
from regmix_pipeline.decisions.journal_check import HeadSource, heads_of, journal_differences, no_reported_heads
from regmix_pipeline.decisions.signed import need_signature
from regmix_pipeline.decisions.verdicts import need_approval, verdicts_of
from regmix_pipeline.decisions.verification import decision_differences
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.exports.about import Export, counts_of
from regmix_pipeline.exports.data import DomainData, data_of
from regmix_pipeline.exports.format import Format
from regmix_pipeline.exports.plan import Drawn, by_domain, sampling_plan
from regmix_pipeline.files import write_json, written_atomically
from regmix_pipeline.registry import Registry

PLAN = ".plan.json"


FORMATS = Registry(
    "format",
    __name__,
    {
        "regmix": "regmix:REGMIX",
        "olmo-core": "olmo_core:OLMO_CORE",
        "megatron": "megatron:MEGATRON",
        "litgpt": "litgpt:LITGPT",
        "mixtera": "mixtera:MIXTERA",
        "hf": "huggingface:HF",
        "streaming": "streaming:STREAMING",
    },
)
"""Name -> `Format`."""


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

    Raises:
        StudyError: no such format, or an option that it has no use for.
        LedgerError: the decision is not approved, its verdicts were altered, or its data cannot be found.
        MixtureError: the budget would repeat a domain more often than its cap.
        Nothing is written in any of these cases.
    """
    made = _format(name, documents, tokens)
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
    data = _counted(data_of(workspace, record, made.need, template), made, template, _token_type(workspace, record))
    budget = tokens or record.get("limits", {}).get("target_tokens")
    # A name that Python can import, for the formats that are modules.
    main = out or Path(f"{record['decision']}_{name.replace('-', '_')}{made.suffix}")
    export = Export(
        record,
        said[-1] if said else None,
        data,
        seed,
        budget,
        documents=bool(made.documents if documents is None else documents),
        main=main.name,
    )
    plan = sampling_plan(record, data, budget, export.max_epochs) if budget else []
    files = {
        main if not ending else main.with_name(main.stem + ending): text for ending, text in made.write(export).items()
    }
    return _to_disk(export, name, main, files, plan)


def _format(name: str, documents: bool | None, tokens: int | None) -> Format:
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


def _token_type(workspace: Workspace, record: Mapping[str, Any]) -> str:
    """Type of a token in files made with the study's tokenizer; "" where it has none."""
    tokenizer = record_named(workspace, dict(record), "tokenizer")
    if tokenizer is None:
        return ""
    return "uint16" if tokenizer.facts["vocabulary"] <= 2**16 else "uint32"


def _counted(
    data: Mapping[str, DomainData], made: Format, template: str | None, token_type: str
) -> dict[str, DomainData]:
    """The same with the files that are on this machine counted one by one, where the format lets them be."""
    if template is None or made.count is None:
        return dict(data)
    found = {domain: made.count(each.address, token_type) for domain, each in data.items()}
    return {
        domain: replace(each, counted=found[domain], available=sum(file.tokens or 0 for file in found[domain]))
        if found[domain]
        else each
        for domain, each in data.items()
    }


def _to_disk(export: Export, name: str, main: Path, files: Mapping[Path, str], plan: list[Drawn]) -> Written:
    totals = by_domain(plan, export.data)
    for path, text in files.items():
        with written_atomically(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    paths = list(files)
    if plan:
        beside = main.with_name(main.stem + PLAN)
        content = {
            "about": export.about() | {"format": name, "files": [path.name for path in files]},
            "budget": export.budget,
            "max_epochs": export.max_epochs,
            "counts": counts_of(export),
            "domains": totals,
            "files": [row.as_json() for row in plan],
        }
        write_json(beside, content)
        paths.append(beside)
    return Written(export, tuple(paths), totals, plan)
