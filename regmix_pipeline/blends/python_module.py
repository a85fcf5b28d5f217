"""Python modules of litgpt, torchtitan and others: weights that stand in the code as they are. Nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from regmix_pipeline.blends.blend import Blend, Content, Source, number

NAMES = ("dataset", "name", "input_dir", "path", "local", "remote")
"""Keywords that say which data a call is about, the first that is there."""


def python_module(content: Content) -> Blend | None:
    """A mapping ``WEIGHTS``, calls with ``weight=`` and a name of data (torchtitan's HFDataSource), or one call with
    the lists ``datasets`` and ``weights`` (litdata's CombinedStreamingDataset). These libraries
    normalise the weights."""
    try:
        tree = ast.parse(content.text)
    except (SyntaxError, ValueError):
        return None
    for found in (_mapping(tree, content), _calls(tree, content), _lists(tree, content)):
        if found:
            return Blend("python", content.path, found)
    return None


def _mapping(tree: ast.Module, content: Content) -> tuple[Source, ...]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(each, "id", "") == "WEIGHTS" for each in node.targets):
            keys, values = getattr(node.value, "keys", []), getattr(node.value, "values", [])
            rows = [(_literal(key), _literal(value), value.lineno) for key, value in zip(keys, values, strict=True)]
            return tuple(_sources(rows, content))
    return ()


def _calls(tree: ast.Module, content: Content) -> tuple[Source, ...]:
    rows = []
    for node in _in_order(tree):
        known = _keywords(node)
        name = next((known[each] for each in NAMES if isinstance(known.get(each), str)), None)
        if name is not None and "weight" in known:
            rows.append((name, known["weight"], node.lineno))
    return tuple(_sources(rows, content))


def _lists(tree: ast.Module, content: Content) -> tuple[Source, ...]:
    for node in _in_order(tree):
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        weights = _literal(given.get("weights"))
        data = getattr(given.get("datasets"), "elts", None)
        if not isinstance(weights, list) or data is None or len(data) != len(weights):
            continue
        rows = [
            (_name_of(each) or f"dataset {place}", weight, each.lineno)
            for place, (each, weight) in enumerate(zip(data, weights, strict=True))
        ]
        return tuple(_sources(rows, content))
    return ()


def _name_of(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Call):
        return getattr(node, "id", None)
    known = _keywords(node)
    first = [_literal(each) for each in node.args[:1]]
    return next((each for each in [*(known.get(name) for name in NAMES), *first] if isinstance(each, str)), None)


def _sources(rows: list[tuple[Any, Any, int]], content: Content) -> Iterator[Source]:
    for name, weight, line in rows:
        place = content.at(str(line))
        yield Source(str(name), number(weight, place), place)


def _keywords(node: ast.Call) -> dict[str, Any]:
    return {keyword.arg: _literal(keyword.value) for keyword in node.keywords if keyword.arg}


def _literal(node: ast.expr | None) -> Any:
    """What an expression is that needs nothing to be run; None for any other."""
    try:
        return None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _in_order(tree: ast.Module) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sorted(calls, key=lambda node: (node.lineno, node.col_offset))
