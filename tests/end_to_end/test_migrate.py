"""The commands of docs/migrate.md, on tables as RegMix's scripts and olmix write them."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.end_to_end.test_changes import looked

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "docs" / "notebooks" / "data"
COMMANDS = [
    shlex.split(line)[1:]
    for line in (ROOT / "docs" / "migrate.md").read_text().splitlines()
    if re.match("regmix ", line)
]
KEPT = ["the_pile_arxiv", "the_pile_pile_cc", "the_pile_github"]
"""Domains of the smaller table."""


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def regmix_tables(folder):
    """RegMix's own rows, of three domains, so that a test can fit them."""
    mixtures, losses = rows_of(TABLES / "train_mixture_1m.csv")[:60], rows_of(TABLES / "train_pile_loss_1m.csv")[:60]
    small = []
    for row in mixtures:
        weights = np.array([float(row[f"train_{name}"]) for name in KEPT]) + 0.01
        small.append(
            {"index": row["index"], **{f"train_{n}": w for n, w in zip(KEPT, weights / weights.sum(), strict=True)}}
        )
    target = "metric/the_pile_pile_cc_val_loss"
    write(folder / "train_mixture_1m.csv", small)
    write(folder / "train_pile_loss_1m.csv", [{"index": row["index"], target: row[target]} for row in reversed(losses)])


def olmix_tables(folder):
    """Runs in olmix's layout, in another order in each file."""
    weights = np.random.default_rng(0).dirichlet([2, 2, 2], 24)
    named = [{"run": f"run{n:03d}", "name": f"swarm-{n:04d}", "index": n} for n in range(24)]
    shares = [{"dclm:software": a, "wikipedia": b, "arxiv": c} for a, b, c in weights]
    metrics = [{"arc_bpb": 1 + (a - 0.5) ** 2, "hellaswag_bpb": 1.2 + (b - 0.2) ** 2} for a, b, _ in weights]
    write(folder / "ratios.csv", [one | two for one, two in zip(named, shares, strict=True)])
    write(folder / "metrics.csv", [one | two for one, two in zip(named, metrics, strict=True)][::-1])


@pytest.mark.parametrize(("tables", "study"), [(regmix_tables, "pile.yaml"), (olmix_tables, "swarm.yaml")])
def test_the_pages_commands_take_the_tables_to_an_export(tables, study, tmp_path):
    tables(tmp_path)
    mine = [words for words in COMMANDS if study in words]
    assert [words[0] for words in mine] == ["import-runs", "run", "export"]
    for words in mine:
        status, _, said = looked(tmp_path, *words)
        assert status == 0, said
    domains = yaml.safe_load((tmp_path / study).read_text())["domains"]
    exported = next(path for path in tmp_path.glob("optimal*") if ".plan" not in path.name)
    if exported.suffix == ".csv":
        weights = {row["domain"]: float(row["weight"]) for row in rows_of(exported)}
        assert set(weights) <= set(domains) == {"dclm_software", "wikipedia", "arxiv"}
    else:
        weights = yaml.safe_load(exported.read_text())["train"]
        assert {name.removeprefix("train_") for name in weights} == set(domains) == set(KEPT)
    assert sum(weights.values()) == pytest.approx(1)


def test_the_published_tables_are_read_whole(tmp_path, command):
    for name in ("train_mixture_1m.csv", "train_pile_loss_1m.csv"):
        shutil.copy(TABLES / name, tmp_path)
    ran = command(tmp_path, *COMMANDS[0])
    assert ran.ended() == 0, ran.text
    study = yaml.safe_load((tmp_path / "pile.yaml").read_text())
    assert "512 imported runs" in study["description"]
    assert len(study["domains"]) == 17
