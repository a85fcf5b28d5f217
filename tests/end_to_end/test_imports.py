"""A study of imported runs alone, through Dagster: no text, no proxies, a decision all the same."""

import csv

import numpy as np

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.decisions.audit import audit_of, holds
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.new_study import study_about


def test_imported_runs_alone_lead_to_a_decision_that_can_be_audited(tmp_path):
    generator = np.random.default_rng(0)
    weights = generator.dirichlet([1.0, 1.0, 1.0], 32)
    losses = 3 + (weights + 0.01) @ [0.9, 0.3, 0.5] + generator.normal(0, 0.01, 32)
    for name, columns, rows in (
        ("mixtures.csv", ["train_web", "train_code", "train_books"], weights),
        ("losses.csv", ["valid_web"], losses[:, None]),
    ):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["index", *columns])
            writer.writerows([number, *row] for number, row in enumerate(rows))
    file = tmp_path / "imported.yaml"
    study_about(tmp_path / "mixtures.csv", tmp_path / "losses.csv", file, None)
    workspace = Workspace(file, tmp_path / "home", say=lambda line: None)
    run_stale(workspace)
    record = find_decision(workspace)
    assert max(record["mixture"]["weights"], key=record["mixture"]["weights"].get) == "code"
    assert holds(audit_of(workspace))
    assert record["stability"] is None
