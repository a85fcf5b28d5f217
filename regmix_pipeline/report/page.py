"""The mixture report: one HTML page that holds everything it shows, for a reader who was not there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regmix_pipeline import numbers
from regmix_pipeline.decisions.caveats import open_weights, price_of
from regmix_pipeline.decisions.guardrails import measured_guardrails
from regmix_pipeline.decisions.phases import phases_in_words
from regmix_pipeline.decisions.repetition import epochs_in_words, prices_in_words
from regmix_pipeline.decisions.sizes import moved, whose
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.regression.signal import REMEDY
from regmix_pipeline.report import confirmation_plots, curves, narrative, plots, provenance, size_plots, tables
from regmix_pipeline.report.alternatives import alternative_rows, named_mixtures
from regmix_pipeline.report.confirmation_summary import COMPARED, TargetResult, by_target, confirmation_summary, tally
from regmix_pipeline.report.data import OBJECTIVE, OVERLAP_SHOWN, ReportData, Score, read_report_data
from regmix_pipeline.report.explorer import disagreement, explorer
from regmix_pipeline.study.coordinates import phase_of
from regmix_pipeline.study.phases_of_decision import chosen_together

if TYPE_CHECKING:
    from regmix_pipeline.decisions.verdicts import Verdict
    from regmix_pipeline.regression.fitted import FittedRegressor

SECTIONS = (
    ("weights", "Mixture"),
    ("predictions", "Predicted losses"),
    ("alternatives", "Alternatives"),
    ("explorer", "Another mixture?"),
    ("evidence", "Evidence"),
    ("confirmation", "Confirmation"),
    ("data", "Data"),
    ("method", "Method"),
    ("lineage", "Lineage"),
)
"""Id of a section -> its name in the list of sections."""

FEW_DOMAINS = 12
"""Domains whose weight is plotted against the objective at first sight; the rest is folded away."""


def render(
    ledger: Path,
    decision: Mapping[str, Any],
    fitted: FittedRegressor | None = None,
    verdicts: Sequence[Verdict] | None = None,
) -> str:
    """The report on ``decision`` as one self-contained HTML page; opening it needs no network.

    Args:
        ledger: the DuckDB file; what holds now is read from its current views, confirmations by the decision's id.
        decision: the decision record. Keys that are missing are shown as "not recorded".
        fitted: the regressors that the decision is based on; without them the page has no sliders.
        verdicts: what people said of the decision, in order; None when nobody looked.

    Raises:
        LedgerError: there is no ledger.
    """
    from jinja2 import ChainableUndefined, Environment, PackageLoader
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("regmix_pipeline.report", "templates"),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(numbers, name)
        for name in (
            "decimals",
            "signed",
            "percent",
            "chance",
            "integer",
            "amount",
            "interval",
            "listed",
            "finite",
            "times",
            "short",
        )
    }
    environment.filters |= {"shade": tables.shade, "breakable": _breakable}
    data = read_report_data(ledger, decision)
    context = build_context(data, decision, fitted, _curves(ledger, decision))
    context |= {"verdicts": verdicts, "latest_verdict": verdicts[-1] if verdicts else None}
    return environment.get_template("page.html").render(context, plotly_js=get_plotlyjs())


def build_context(
    data: ReportData,
    decision: Mapping[str, Any],
    fitted: FittedRegressor | None = None,
    training: Sequence[curves.Curve] = (),
) -> dict[str, Any]:
    """Everything the template shows: tables, sentences and, under ``figures``, the plots as JSON by id."""
    decided = {"versions": {}, "flags": [], "domains": [], "predictions": [], "code": {}, **decision}
    targets, scores = tables.shown_targets(decided, data), tables.of_regressors(data.scores)
    together = {name: part / PARTS for name, part in chosen_together(decided).items()}
    domains = sorted(decided["domains"], key=lambda row: -(numbers.finite(row.get("weight")) or 0.0))
    if together:  # phase by phase, each weight with its share of the phase's own tokens
        domains.sort(key=lambda row: list(together).index(phase_of(row["domain"])))
        domains = [row | {"of_phase": row["weight"] / together[phase_of(row["domain"])]} for row in domains]
    confirmed = by_target(data.confirmation)
    context: dict[str, Any] = {
        "decision": decided,
        "data": data,
        "targets": targets,
        "domains": domains,
        "sections": SECTIONS,
        "ranged": any(numbers.finite(row.get("high")) is not None for row in domains),
        "compared": COMPARED,
        "not_recorded": numbers.NOT_RECORDED,
        "few_domains": FEW_DOMAINS,
        "overlap_shown": OVERLAP_SHOWN,
        "flags_recorded": "flags" in decision,
        "phases": phases_in_words(decision),
        "together": list(together),
        "epochs_allowed": epochs_in_words(decision),
        "prices": prices_in_words(decision),
        "drift": narrative.drift(decided["versions"], data.versions),
        "method": narrative.method(decided, data),
        "recomputed": narrative.recomputed_id((decided.get("mixture") or {}).get("weights") or {}),
        "lineage": tables.lineage_rows(data.versions, decided["versions"]),
        "price": price_of(decided),
        "whose": whose(decided),
        "open_weights": open_weights(decided),
        "measured_guardrails": measured_guardrails(
            decided.get("guardrails") or [], ((row.name, row.seed, row.target, row.loss) for row in data.confirmation)
        ),
        "remedy_for_noise": REMEDY,
        "score_rows": tables.score_rows(scores),
        "choice_rows": tables.choice_rows(data.scores),
        "split": tables.main_split(scores),
        "regressors": tables.regressors_by_rank(scores),
        "not_best_here": tables.chosen_not_best(scores, {target.key: target.label for target in targets}),
        "regions_count": any(score.split == "region" for score in scores),
    }
    for name, found in _by_shown(data, decided, targets).items():
        context[name] = {target.key: tables.pick(found, target, targets) for target in targets}
    first = targets[0] if targets else None
    objective = tables.pick(confirmed, first, targets) if first and first.in_objective else None
    context["confirmed"] = {t.key: found for t in targets if (found := tables.pick(confirmed, t, targets))}
    spoken = "the objective" if first and first.key == OBJECTIVE else f"the objective, {first.key}," if first else ""
    context["verdict"] = confirmation_summary(objective, spoken) if objective else None
    context["tally"] = tally({k: v for k, v in context["confirmed"].items() if k != OBJECTIVE})
    context["facts"] = narrative.certainty(decided, _rank(context, first), context["verdict"])
    context["signal"] = narrative.signal(data.losses.get(OBJECTIVE, []))
    named = named_mixtures(decided, fitted)
    context["alternatives"] = alternative_rows(decided, named)
    ordered = [row["domain"] for row in domains]
    context["all_domains"] = list(dict.fromkeys([*ordered, *(name for one in named for name in one.weights)]))
    context["predicted_roles"] = tables.predicted_roles(decided["predictions"])
    study = context["study"] = explorer(fitted, decided, targets, named)
    context["differ"] = disagreement(study, fitted) if study and fitted else {}
    context["study_key"] = tables.marks_of_limits(domains)
    context["study_json"] = _script_safe(study)
    context |= provenance.of(decided)
    context["figures"] = _figures(context, data)
    if training:
        context["figures"]["curves"] = curves.draw(training)
    context["odd_curves"] = curves.outlier_lines(training)
    context["curves_count"] = len(training)
    context["figures_json"] = _script_safe({name: json.loads(plot.json) for name, plot in context["figures"].items()})
    return context


def _curves(ledger: Path, decision: Mapping[str, Any]) -> list[curves.Curve]:
    objective = {name: float(share) for name, share in (decision.get("objective") or {}).items()}
    with read_ledger(ledger) as connection:
        return curves.read_curves(connection, objective)


def _rank(context: Mapping[str, Any], objective: tables.Shown | None) -> Score | None:
    """Spearman correlation on the objective: as scored, or of the out-of-fold predictions added up over its targets."""
    if objective is None or not objective.in_objective:
        return None
    scores, pairs = context["chosen_scores"][objective.key], context["out_of_fold"][objective.key]
    if scores and "spearman" in scores:
        return scores["spearman"]
    value = tables.rank_correlation([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None
    return None if value is None else Score("", objective.key, "", "spearman", value, None, None, True)


def _by_shown(
    data: ReportData, decision: Mapping[str, Any], targets: list[tables.Shown]
) -> dict[str, Mapping[str, Any]]:
    names, scores = [row["domain"] for row in decision["domains"]], tables.of_regressors(data.scores)
    return {
        "predictions": tables.predictions_by_target(decision["predictions"]),
        "chosen_scores": tables.scores_of_chosen(scores),
        "spearman": tables.spearman_matrix(scores),
        "out_of_fold": data.out_of_fold,
        "losses": data.losses,
        "trajectories": data.trajectories,
        "correlations": tables.correlations(data.losses, data.weights, names),
    }


def _figures(context: Mapping[str, Any], data: ReportData) -> dict[str, plots.Plot]:
    """Id of the place in the page -> its plot."""
    targets, domains = context["targets"], context["domains"]
    figures = {"weights": plots.weights(domains)} if domains else {}
    for i, target in enumerate(targets):
        for name, draw in (("predictions", plots.predictions), ("trajectories", plots.trajectory)):
            if found := context[name][target.key]:
                figures[f"{name}-{i}"] = draw(found, target.label)
        if found := context["out_of_fold"][target.key]:
            figures[f"out_of_fold-{i}"] = plots.out_of_fold(found, target.label, large=i == 0)
    if path := (context["decision"].get("size") or {}).get("path"):
        figures["size-path"] = size_plots.optimum_by_size(path)
    labels = {target.key: target.label for target in targets if context["losses"][target.key]}
    if labels:
        # Beside what proxies measured, a prediction for another size would mislead.
        shown = {} if moved(context["decision"]) else context["predictions"]
        chosen = {key: ((shown.get(key) or {}).get("chosen") or {}).get("predicted") for key in labels}
        figures["losses"] = plots.losses({key: context["losses"][key] for key in labels}, labels, chosen)
    for i, row in enumerate(domains):
        if found := data.losses.get(OBJECTIVE):
            weight = numbers.finite(row.get("weight"))
            figures[f"domain-{i}"] = plots.weight_against_loss(data.weights, found, row["domain"], weight)
    return figures | _confirmation_figures(context, data)


def _confirmation_figures(context: Mapping[str, Any], data: ReportData) -> dict[str, plots.Plot]:
    targets, figures = context["targets"], {}
    confirmed: Mapping[str, TargetResult] = context["confirmed"]
    if context["verdict"]:
        result, label = confirmed[targets[0].key], targets[0].label
        compared = {name: {"predicted": cell.predicted} for name, cell in result.cells.items()}
        compared |= {k: v for k, v in (context["predictions"][targets[0].key] or {}).items() if k in compared}
        figures["confirmation-predicted"] = plots.predictions(compared, label)
        figures["confirmation-measured"] = confirmation_plots.measured(result, label)
    if confirmed and any("natural" in result.cells for result in confirmed.values()):
        names = {result.target: target.label for target in targets if (result := confirmed.get(target.key))}
        figures["confirmation"] = confirmation_plots.differences(data.confirmation, names)
    return figures


def _breakable(name: str) -> Any:
    """A name that may be broken after its underscores and plus signs, where a narrow table needs it."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"[_+]", r"\g<0><wbr>", str(escape(name))))


def _script_safe(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
