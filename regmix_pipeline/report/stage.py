"""The mixture report: one page from the ledger, the decision record, its regressors and what people said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from regmix_pipeline.decisions.find import record_named
from regmix_pipeline.decisions.verdicts import verdicts_of
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import RegressionError
from regmix_pipeline.files import fingerprint, written_atomically

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor

CODE_VERSION = "7"


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    inputs = workspace.versions("mixture_decision") | workspace.versions("confirmation")
    # The page says who approved the decision, so it is made again when somebody has.
    said = [verdict.verdict for verdict in verdicts_of(workspace, workspace.need("mixture_decision").version)]
    return {
        UNPARTITIONED: Recipe(
            inputs, {"description": workspace.study.description, "verdicts": said, "code": CODE_VERSION}
        )
    }


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.report.data import TABLES_SHOWN
    from regmix_pipeline.report.page import render

    decision = workspace.json("mixture_decision", "decision.json")
    fitted = regressors_behind(workspace, decision)
    said = verdicts_of(workspace, decision["decision"])
    page = render(workspace.ledger_of(*TABLES_SHOWN), decision, fitted, said)
    version = fingerprint("report", recipes[UNPARTITIONED].id)
    path = workspace.path("reports", f"{decision['decision']}-{version}.html")
    with written_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    facts = {
        "decision": decision["decision"],
        "kilobytes": round(len(page) / 1e3),
        "law in the page": (fitted.law if fitted else None) or "none",
        "last verdict": said[-1].said if said else "none",
    }
    yield Output(UNPARTITIONED, version, facts, [path])


def regressors_behind(workspace: Workspace, decision: Mapping[str, Any]) -> FittedRegressor | None:
    """The regressors in the version that the decision names; None where they are gone or of another format."""
    from regmix_pipeline.regression.fitted import FittedRegressor

    record = record_named(workspace, dict(decision), "regressor")
    for name in record.files if record else ():
        if name.endswith("regressor.json"):
            try:
                return FittedRegressor.load((workspace.home / name).parent)
            except RegressionError as problem:
                workspace.say(f"      the report has no sliders: {problem}")
    return None


MIXTURE_REPORT = Stage(
    "mixture_report",
    (
        "mixture_decision",
        "confirmation",
        "regressor",
        *("text_checks", "domain_inventory", "mixtures", "proxy_losses", "earlier_runs", "imported_runs"),
    ),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("reports",),
    kinds=("plotly",),
    group="decision",
    description="One self-contained HTML page: the decision, its certainty, the evidence and the method.",
)
