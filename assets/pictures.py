"""Small pictures that the Dagster UI shows inline, beside an asset's numbers."""

from __future__ import annotations

import dagster as dg

from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger.build import read_ledger
from regmix_pipeline.report.inline import markdown, scatter_svg, weights_svg


def chosen_weights(lab: Lab) -> dict[str, dg.MetadataValue]:
    """The chosen weights as bars, each with a tick at the natural weight."""
    return {"chosen vs natural": dg.MetadataValue.md(markdown(weights_svg(lab.json("optimal_mixture")["domains"])))}


def out_of_fold_scatter(lab: Lab) -> dict[str, dg.MetadataValue]:
    """Measured against predicted losses of the heaviest target, each mixture predicted without itself."""
    target = max(lab.study.objective, key=lambda name: lab.study.objective[name])
    with read_ledger(lab.ledger) as connection:
        rows = connection.execute(
            "select loss, predicted from current_out_of_fold where target = ? order by mixture", [target]
        ).fetchall()
    picture = markdown(scatter_svg([row[0] for row in rows], [row[1] for row in rows]))
    return {f"out of fold, {target}"[:60]: dg.MetadataValue.md(picture)}
