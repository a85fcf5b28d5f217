"""Small pictures and tables that the Dagster UI shows beside an asset; what they show is made in `report.ui_tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from regmix_pipeline.assets.names import asset_key
from regmix_pipeline.decisions.names import mixture_names, weights_in_words
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.stage import PROXY_LOSSES
from regmix_pipeline.report import curves, ui_tables
from regmix_pipeline.report.inline import differences_svg, markdown, scatter_svg, spreads_svg, weights_svg
from regmix_pipeline.strategies.comparison.show import correlation_rows, ranking_rows

Metadata = dict[str, dg.MetadataValue]
ROWS = 20
"""Rows of a table that are shown; the ledger has the rest."""


def tokens_available(workspace: Workspace) -> Metadata:
    """What there is to draw from."""
    with read_ledger(workspace.ledger) as connection:
        return table("tokens available", ui_tables.inventory(connection))


def weights_covered(workspace: Workspace) -> Metadata:
    """How far the mixtures reach in each domain's weight; the tick is the natural weight."""
    with read_ledger(workspace.ledger) as connection:
        rows, spreads = ui_tables.coverage(connection)
    return picture("weights in the mixtures", spreads_svg(spreads)) | table("weights by domain", rows)


def by_name(workspace: Workspace) -> Metadata:
    """Which partitions are natural, uniform, best observed, chosen or nearest to it, each with a link to its losses."""
    mixtures, lines = current_mixtures(workspace), ["| mixture | partition | weights |", "|---|---|---|"]
    place = "/".join(asset_key(workspace, PROXY_LOSSES).path)
    for name, key in mixture_names(workspace).items():
        link = f"[{key}](/assets/{place}?view=partitions&partition={key})"
        lines.append(f"| {name} | {link} | {weights_in_words(mixtures[key], shown=3)} |")
    return {"mixtures by name": dg.MetadataValue.md("\n".join(lines))} if len(lines) > 2 else {}


def mixtures_shown(workspace: Workspace) -> Metadata:
    """The mixtures that have a name, and what all of them cover."""
    return by_name(workspace) | weights_covered(workspace)


def losses_spread(workspace: Workspace) -> Metadata:
    """How the proxies' final losses are spread on every target; the tick is the natural mixture's."""
    with read_ledger(workspace.ledger) as connection:
        rows, spreads = ui_tables.losses(connection, workspace.targets)
    return picture("proxy losses", spreads_svg(spreads)) | table("proxy losses by target", rows)


def out_of_fold(workspace: Workspace) -> Metadata:
    """Measured against predicted losses of the heaviest target, the scores of all, and how losses are spread."""
    target = max(workspace.study.objective, key=lambda name: workspace.study.objective[name])
    with read_ledger(workspace.ledger) as connection:
        rows = connection.execute(
            "select loss, predicted from current_out_of_fold where target = ? order by mixture", [target]
        ).fetchall()
        scores = ui_tables.scores(connection)
    scatter = scatter_svg([row[0] for row in rows], [row[1] for row in rows])
    return (
        by_name(workspace)
        | picture(f"out of fold, {target}"[:60], scatter)
        | table("scores out of fold", scores)
        | losses_spread(workspace)
        | training_curves(workspace)
    )


def training_curves(workspace: Workspace) -> Metadata:
    """Training losses of all proxies in one picture, coloured by the objective, and the outliers by name."""
    with read_ledger(workspace.ledger) as connection:
        found = curves.read_curves(connection, workspace.study.objective)
    if not found:
        return {}
    odd = curves.outlier_lines(found)
    return picture("training of all proxies", curves.curves_svg(found)) | {
        "proxies unlike the others": dg.MetadataValue.md("\n".join(f"- {line}" for line in odd) or "none")
    }


def chosen_weights(workspace: Workspace) -> Metadata:
    """The chosen weights as bars with a tick at the natural ones, and what both are predicted to lead to."""
    optimum = workspace.json("optimal_mixture")
    rows, gaps = ui_tables.predicted(optimum["predictions"], optimum["objective"])
    return (
        picture("chosen vs natural", weights_svg(optimum["domains"]))
        | table("weights and limits", ui_tables.weights(optimum["domains"]))
        | picture("loss, chosen - natural", differences_svg(gaps))
        | table("predicted losses", rows)
    )


def decided(workspace: Workspace) -> Metadata:
    """The decision's weights, and the mixtures it was compared with."""
    record = workspace.json("mixture_decision", "decision.json")
    return (
        by_name(workspace)
        | picture("chosen vs natural", weights_svg(record["domains"]))
        | table("weights and limits", ui_tables.weights(record["domains"]))
        | table("alternatives", ui_tables.alternatives(record["predictions"]))
    )


def larger_models(workspace: Workspace) -> Metadata:
    """What larger models measured; nothing where the study asks for none."""
    with read_ledger(workspace.ledger) as connection:
        return table("larger models (nats/token)", ui_tables.confirmed(connection))


def strategies_compared(workspace: Workspace) -> Metadata:
    """Which strategy's target run was best, and how well small models predicted it."""
    if workspace.study.strategies is None:
        return {}
    result = workspace.json("strategy_comparison")
    return table("strategies (nats/token)", ranking_rows(result)) | table("candidates", correlation_rows(result))


def picture(name: str, svg: str) -> Metadata:
    """A picture under its name."""
    return {name: dg.MetadataValue.md(markdown(svg))}


def table(name: str, rows: Sequence[Mapping[str, str]]) -> Metadata:
    """A table of at most `ROWS` rows under its name, which says what was left out; nothing for no rows."""
    if not rows:
        return {}
    title = name if len(rows) <= ROWS else f"{name}, {ROWS} of {len(rows)}"
    columns = list(dict.fromkeys(column for row in rows for column in row))
    records = [dg.TableRecord({column: row.get(column, "") for column in columns}) for row in rows[:ROWS]]
    return {title: dg.MetadataValue.table(records)}
