"""The documentation site builds without a dead link, and what is generated in it is up to date."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from regmix_pipeline.decisions.record import NON_CONTENT_FIELDS
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.reference import page_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", ["cli", "ledger"])
def test_generated_pages_are_up_to_date(page):
    wrong = f"python -m regmix_pipeline.reference {page} > docs/{page}.md"
    assert (DOCS / f"{page}.md").read_text() == page_of(page), wrong


def test_the_command_page_has_every_command_and_hides_no_placeholder():
    import typer

    from regmix_pipeline.cli import app

    page = page_of("cli")
    for name, command in typer.main.get_command(app).commands.items():
        section = page.split(f"## `regmix {name}`\n")[1].split("\n## ")[0]
        for option in command.params:
            assert all(flag in section for flag in option.opts if flag.startswith("--"))
    assert ".regmix/&lt;study>" in page


def test_the_ledger_page_has_every_column():
    page = page_of("ledger")
    for name, table in TABLES.items():
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.M) == list(table.columns)


def test_the_site_builds_strictly(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / "mkdocs.yml", "-d", tmp_path / "site"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"REGMIX_RUN_NOTEBOOKS": "false"},  # they are run by test_notebook.py
    )
    assert built.returncode == 0, built.stderr
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages == {path.parent.name for path in (tmp_path / "site").glob("*/index.html")}
    listed = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text())["docs"]
    assert any(entry["location"] == "ledger/#noise_floor" for entry in listed)


def test_every_page_is_in_the_navigation(tmp_path):
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [path.name for path in sorted(DOCS.glob("*.md")) if f": {path.name}\n" not in navigation] == []


def test_a_dead_link_fails_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[gone](gone.md)\n")
    settings = (ROOT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(settings.split("\nnav:")[0].replace("extra_css", "# extra_css") + "\n")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", tmp_path / "mkdocs.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode != 0
    assert "gone.md" in built.stderr


def test_circumstances_are_documented_as_such():
    page = (DOCS / "decision-record.md").read_text()
    said = page.split("## Circumstances")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", said, re.M)) == set(NON_CONTENT_FIELDS)
