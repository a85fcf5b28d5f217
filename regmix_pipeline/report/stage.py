"""The mixture report: one page from the ledger and the decision record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regmix_pipeline.files import fingerprint, written_atomically
from regmix_pipeline.lab import Lab, Output, Stage
from regmix_pipeline.ledger.records import WHOLE, Recipe

CODE_VERSION = "2"


def _wanted(lab: Lab) -> dict[str, Recipe]:
    inputs = lab.versions("mixture_decision") | lab.versions("confirmation")
    return {WHOLE: Recipe(inputs, {"description": lab.study.description, "code": CODE_VERSION})}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.report.page import render

    decision = lab.json("mixture_decision", "decision.json")
    page = render(lab.ledger, decision)
    version = fingerprint("report", recipes[WHOLE].id)
    path = lab.path("reports", f"{decision['decision']}-{version}.html")
    with written_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    yield Output(WHOLE, version, {"decision": decision["decision"], "kilobytes": round(len(page) / 1e3)}, [path])


MIXTURE_REPORT = Stage("mixture_report", ("mixture_decision", "confirmation"), None, CODE_VERSION, _wanted, _make)
