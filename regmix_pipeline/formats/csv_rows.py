"""CSV: a row a domain."""

from __future__ import annotations

import csv
import io

from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format
from regmix_pipeline.formats.plan import by_domain, sampling_plan

COLUMNS = ("domain", "weight", "tokens", "available_tokens", "epochs")


def rows(export: Export) -> dict[str, str]:
    """Weight, tokens drawn, tokens available and epochs of each domain; empty where nobody knows.

    There are no comments, which few readers of CSV skip: where the mixture comes from is in the plan beside.
    """
    drawn = {}
    if export.budget:
        drawn = {
            row["domain"]: row
            for row in by_domain(sampling_plan(export.weights, export.data, export.budget), export.data)
        }
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for domain, weight in export.weights.items():
        known = drawn.get(domain, {"available_tokens": export.data[domain].available})
        table.writerow([domain, repr(weight), *(known.get(name) for name in COLUMNS[2:])])
    return {"": text.getvalue()}


CSV = Format(rows, ".csv", "nothing")
