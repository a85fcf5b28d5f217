"""A study of imported runs alone, through Dagster: no text, no proxies, a decision all the same."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.cli import app
from regmix_pipeline.decisions.audit import audit_of, holds
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.new_study import study_about


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a study of imported runs alone, and of its home, once it was run."""
    folder = tmp_path_factory.mktemp("imported")
    generator = np.random.default_rng(0)
    weights = generator.dirichlet([1.0, 1.0, 1.0], 32)
    losses = 3 + (weights + 0.01) @ [0.9, 0.3, 0.5] + generator.normal(0, 0.01, 32)
    for name, columns, rows in (
        ("mixtures.csv", ["train_web", "train_code", "train_books"], weights),
        ("losses.csv", ["valid_web"], losses[:, None]),
    ):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["index", *columns])
            writer.writerows([number, *row] for number, row in enumerate(rows))
    file = folder / "imported.yaml"
    study_about(folder / "mixtures.csv", folder / "losses.csv", file, None)
    run_stale(Workspace(file, folder / "home", say=lambda line: None))
    return folder


@pytest.fixture
def imported_study(made):
    """The workspace of a copy of it, in a folder."""

    def opened(folder):
        if not (folder / "home").exists():
            shutil.copytree(made, folder, dirs_exist_ok=True)
        return Workspace(folder / "imported.yaml", folder / "home", say=lambda line: None)

    return opened


def test_imported_runs_alone_lead_to_a_decision_that_can_be_audited(imported_study, tmp_path):
    workspace = imported_study(tmp_path)
    record = find_decision(workspace)
    assert max(record["mixture"]["weights"], key=record["mixture"]["weights"].get) == "code"
    assert holds(audit_of(workspace))
    assert record["stability"] is None


@pytest.mark.parametrize("pattern", ["tables/*", "tables/mixtures", "tables/proxy_losses"])
def test_parts_that_are_gone_are_made_again_whichever_stage_reads_them_first(imported_study, tmp_path, pattern):
    workspace = imported_study(tmp_path)
    before = find_decision(workspace)["mixture"]
    for path in sorted(workspace.home.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not holds(audit_of(workspace))
    run_stale(imported_study(tmp_path))
    assert find_decision(workspace)["mixture"] == before
    assert holds(audit_of(imported_study(tmp_path)))


def test_a_report_that_was_deleted_and_made_again_is_no_alteration(imported_study, tmp_path):
    workspace = imported_study(tmp_path)
    (report,) = workspace.home.glob("reports/*.html")
    report.unlink()
    assert not holds(audit_of(workspace))
    run_stale(imported_study(tmp_path))
    assert holds(audit_of(imported_study(tmp_path)))
    report.write_text(report.read_text().replace("</html>", " </html>"))
    assert not holds(audit_of(imported_study(tmp_path)))


@pytest.mark.parametrize("name", ["mix%20a", "why?x", "a#b"])
def test_signs_of_addresses_in_the_path_of_a_home(imported_study, tmp_path, name):
    folder = tmp_path / name
    workspace = imported_study(folder)
    run_stale(workspace)
    about = ["--study", str(workspace.study_file), "--home", str(workspace.home)]
    for words in (["approve", "--reason", "a reason"], ["audit"]):
        answer = CliRunner().invoke(app, [*words, *about])
        assert answer.exit_code == 0
        assert "event log" not in answer.output
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["study.json", ".ledger.duckdb.json"])
@pytest.mark.parametrize("content", [None, b"", b'{"a": 1}'])
def test_notes_of_a_home_are_written_again(imported_study, tmp_path, name, content):
    workspace = imported_study(tmp_path)
    run_stale(workspace)
    before = (workspace.home / name).read_bytes()
    (workspace.home / name).unlink()
    if content is not None:
        (workspace.home / name).write_bytes(content)
    run_stale(imported_study(tmp_path))
    assert set(json.loads((workspace.home / name).read_bytes())) == set(json.loads(before))


def test_a_past_inventory_that_is_lost_or_rubbish_stops_nothing(imported_study, tmp_path):
    workspace = imported_study(tmp_path)
    (past,) = workspace.home.glob("tables/domain_inventory/*.parquet")
    for cap, content in ((0.9, None), (0.8, b"rubbish"), (0.7, None)):
        settings = yaml.safe_load(workspace.study_file.read_text())
        settings["domains"]["code"]["cap"] = cap
        workspace.study_file.write_text(yaml.safe_dump(settings))
        run_stale(imported_study(tmp_path))
        past.unlink(missing_ok=True)
        if content is not None:
            past.write_bytes(content)
    assert find_decision(imported_study(tmp_path))["mixture"]["weights"]["code"] <= 0.7
