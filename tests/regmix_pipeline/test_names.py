"""One word means one thing: what names of the code may not be."""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import regmix_pipeline

PACKAGE = Path(regmix_pipeline.__file__).parent
FOLDERS = (PACKAGE, PACKAGE / "assets", PACKAGE / "resources")  # the last two may be links
DIALECT = {"foretold", "glance", "lab", "outlook", "told", "unlike", "untold", "vain"}
"""Words that had a meaning of their own here; docs/glossary.md has those in use."""


@cache
def trees():
    """File -> its parsed text. Not at import: every worker imports this file, and one runs it."""
    return {path: ast.parse(path.read_text("utf-8")) for folder in FOLDERS for path in sorted(folder.rglob("*.py"))}


@cache
def named():
    """Names of all classes, functions, arguments and variables, and where they are."""
    found = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            name = getattr(node, "name", None) or getattr(node, "arg", None) or getattr(node, "id", None)
            if isinstance(name, str):
                found.append((name, f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"))
    return found


def test_no_two_public_classes_have_one_name():
    found = Counter(
        node.name
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(found) > 100
    assert [name for name, count in found.items() if count > 1] == []


def test_no_name_has_a_word_of_the_private_dialect():
    assert [(name, where) for name, where in named() if DIALECT & set(name.lower().split("_"))] == []


@pytest.mark.parametrize(
    "name",
    ["Standing", "TakenUp", "WHOLE", "CIRCUMSTANCES", "BORROWED", "whole_made", "put_down", "take_up", "moved_inside"],
)
def test_names_that_were_replaced_are_gone(name):
    assert [where for other, where in named() if other == name] == []
