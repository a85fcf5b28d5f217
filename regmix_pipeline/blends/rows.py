"""Plain tables: CSV, JSON or YAML of names and weights."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from regmix_pipeline.blends.blend import Blend, Content, Source, is_number, number
from regmix_pipeline.errors import MixtureError

NAMES = ("source", "domain", "name", "dataset", "path")
WEIGHTS = ("weight", "share", "ratio", "proportion", "probability", "token_share", "proportion")
TOKENS = ("tokens", "available_tokens", "num_tokens")
DOCUMENTS = ("documents", "available_documents", "num_documents")
EPOCHS = ("max_epochs",)
BELOW = ("weights", "mixture", "domains", "sources", "streams")
"""Fields of a file that hold its table."""


def rows(content: Content) -> Blend | None:
    """Rows with a name, a weight, and perhaps tokens, documents and max_epochs; a mapping of names and weights; or the
    lists ``names`` and ``probabilities``."""
    value = content.value
    if isinstance(value, str) or value is None:
        return _of_rows(csv_rows(content), content, None)
    budget = None
    if isinstance(value, dict):
        budget = next((value[name] for name in ("budget", "target_tokens") if is_number(value.get(name))), None)
        names, weights = value.get("names"), value.get("probabilities")
        if isinstance(names, list) and isinstance(weights, list) and len(names) == len(weights):
            value = [{"name": name, "weight": weight} for name, weight in zip(names, weights, strict=True)]
        for name in BELOW:
            if not isinstance(value, dict):
                break
            if isinstance(value.get(name), dict | list):
                value = value[name]
                break
    if isinstance(value, dict):
        if not value:
            return None
        if all(isinstance(each, dict) for each in value.values()):
            return _of_rows([(f"{name}", {"name": name, **row}) for name, row in value.items()], content, budget)
        if not all(is_number(weight) for weight in value.values()):
            return None
        return _of_rows([(name, {"name": name, "weight": weight}) for name, weight in value.items()], content, budget)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return _of_rows([(str(place), row) for place, row in enumerate(value)], content, budget)
    return None


def csv_rows(content: Content) -> list[tuple[str, Mapping[str, Any]]]:
    head = content.text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(content.text), delimiter=delimiter, skipinitialspace=True)
    return [(str(reader.line_num), {str(name).strip().lower(): cell for name, cell in row.items()}) for row in reader]


def _of_rows(found: Iterable[tuple[str, Mapping[str, Any]]], content: Content, budget: float | None) -> Blend | None:
    sources = []
    for place, row in found:
        where = content.at(place)
        name, weight = first_of(row, NAMES), first_of(row, WEIGHTS)
        if name is None or weight is None:
            if not sources:
                return None
            missing = "name" if name is None else "weight"
            raise MixtureError(f"a row without a {missing}", where=where, remedy="fill the cell, or remove the row")
        if isinstance(weight, str) and weight.strip().endswith("%"):
            weight = number(weight.strip()[:-1], where) / 100
        sources.append(
            Source(
                str(name).strip(),
                number(weight, where),
                where,
                tokens=count(first_of(row, TOKENS), where),
                documents=count(first_of(row, DOCUMENTS), where, "a number of documents"),
                max_epochs=count(first_of(row, EPOCHS), where, "a number of epochs"),
            )
        )
    return Blend("table", content.path, tuple(sources), budget=budget) if sources else None


def count(value: Any, where: str, what: str = "a number of tokens") -> float | None:
    """A count; None for an empty cell.

    Raises:
        MixtureError: it is not a number.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return number(value.replace("_", "").replace(",", "") if isinstance(value, str) else value, where, what)
    except MixtureError as error:
        raise MixtureError(error.problem, where=where, remedy="write it as 25e9 or 25000000000") from None


def first_of(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)
