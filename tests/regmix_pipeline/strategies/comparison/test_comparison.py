"""A comparison from end to end on a tiny study: through Dagster, killed and gone on with, and from the command line."""

from __future__ import annotations

import json
import shutil

import duckdb
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.assets.runner import RunFailedError, run_stale
from regmix_pipeline.cli import app
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.stages import STAGES
from regmix_pipeline.strategies.comparison.files import plain
from regmix_pipeline.strategies.named import named_strategy
from regmix_pipeline.strategies.stage import STRATEGY_COMPARISON

OURS = '''
import os
import signal
from pathlib import Path

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.mixtures.limits import within_limits
from regmix_pipeline.strategies.arena import Choice


def inside(arena, weights):
    return rounded_inside(within_limits(np.array(weights, dtype=float), arena.limits), arena.limits)


class Better:
    """Trains two mixtures and takes the better one; the process is killed after the runs when the file says so."""

    name, paper = "better", "nobody"

    def __init__(self, marker=""):
        self.marker = marker

    def choose(self, arena, flops, seed=0):
        if flops < 2 * arena.proxy.flops:
            raise StudyError("two runs are too many", where="better", remedy="give two proxies")
        tried = [inside(arena, [1, 1, 1]), inside(arena, [1, 1, 4])]
        runs = arena.train(tried, arena.proxy, seed)
        if self.marker and Path(self.marker).exists():
            Path(self.marker).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        losses = [sum(share * run.losses[name] for name, share in arena.objective.items()) for run in runs]
        return Choice.of(tried[int(np.argmin(losses))], losses=np.array(losses), nothing=float("nan"))


class Halves:
    name, paper = "halves", ""

    def choose(self, arena, flops, seed=0):
        return Choice(((0.5, inside(arena, [1, 1, 1])), (1.0, inside(arena, [1, 1, 4]))))


class Steering:
    """Draws what its model finds hard, judged on training text every eight steps."""

    name, paper = "steering", ""

    def choose(self, arena, flops, seed=0):
        def steer(session):
            while session.taken < session.size.steps:
                losses = session.domain_losses()
                weights = inside(arena, np.exp(losses - losses.max())).vector(arena.domains)
                session.advance(weights, min(8, session.size.steps - session.taken), np.ones(3))

        return Choice(policy=steer)
'''


@pytest.fixture(scope="module")
def killed(decided_study, tiny_settings, small_proxy, tmp_path_factory):
    """A study whose comparison was killed and gone on with: folder, the first error, files in between."""
    folder = shutil.copytree(decided_study, tmp_path_factory.mktemp("compared") / "study")
    (folder / "ours.py").write_text(OURS)
    marker = folder / "kill"
    marker.touch()
    settings = yaml.safe_load((folder / "tiny.yaml").read_text()) | {
        "confirmation": tiny_settings["confirmation"],
        "strategies": {
            "names": ["natural", "ours:Better", "ours:Halves", "ours:Steering"],
            "options": {"ours:Better": {"marker": str(marker)}},
            "budget_proxies": 3,
            "seeds": 2,
            "candidates": 6,
            "small_proxy": small_proxy,
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.syspath_prepend(str(folder))
        # One worker: to start another one costs more than it trains.
        workspace = Workspace(folder / "tiny.yaml", folder / "home", workers=1, say=lambda line: None)
        with pytest.raises(RunFailedError) as failed:
            run_stale(workspace, [STRATEGY_COMPARISON])
        between = {path: path.stat().st_mtime_ns for path in files(folder)}
        run_stale(workspace, [STRATEGY_COMPARISON])
        yield folder, str(failed.value), between


def files(folder):
    return [*folder.glob("home/compared/p*/*"), *folder.glob("home/strategies/*.json")]


def asked(folder, query):
    with duckdb.connect(str(folder / "home" / "ledger.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_a_killed_strategy_is_named_and_nothing_is_done_twice(killed):
    folder, error, between = killed
    assert "strategy ours:Better" in error
    assert "was killed by SIGKILL" in error
    kinds = [json.loads(path.read_text()).get("kind") for path in between if path.suffix == ".json"]
    assert sorted(filter(None, kinds)) == ["policy", "schedule"]
    assert len([path for path in between if path.name == "model.safetensors"]) == 2
    now = {path: path.stat().st_mtime_ns for path in files(folder)}
    assert {path: now[path] for path in between} == between
    assert len(now) > len(between)


def test_the_ledger_tells_choices_and_losses(killed):
    folder = killed[0]
    rows = asked(
        folder, "select strategy, kind, runs, flops, budget_flops, schedule, details from current_strategy_choices"
    )
    found = {row[0]: row[1:] for row in rows}
    assert set(found) == {"natural", "decision", "ours:Better", "ours:Halves", "ours:Steering"}
    kind, runs, flops, budget, schedule, details = found["ours:Better"]
    assert (kind, runs) == ("mixture", 2)
    assert flops == pytest.approx(budget * 2 / 3)
    ((end, weights),) = json.loads(schedule)
    assert end == 1
    assert sum(weights.values()) == pytest.approx(1)
    assert len(json.loads(details)["losses"]) == 2
    assert json.loads(details)["nothing"] is None
    assert found["ours:Steering"][0] == "policy"
    assert found["ours:Steering"][4] is None
    own = asked(folder, "select count(distinct proxy) from current_proxy_losses where final")
    assert found["decision"][1] == own[0][0]
    counts = asked(folder, "select strategy, count(*), count(distinct run) from current_strategy_losses group by 1")
    assert {name: (rows, runs) for name, rows, runs in counts} == dict.fromkeys(found, (2 * 3, 2))
    further = asked(folder, "select further_flops from current_strategy_choices where strategy = 'ours:Steering'")
    assert further[0][0] > 0


def test_differences_are_paired_by_seed(killed):
    folder = killed[0]
    (path,) = (folder / "home" / "strategies").glob("comparison-*.json")
    result = json.loads(path.read_text())
    rows = {row["strategy"]: row for row in result["ranking"]}
    assert [row["objective"] for row in result["ranking"]] == sorted(row["objective"] for row in result["ranking"])
    losses = {
        name: np.array([loss for (loss,) in asked(folder, _objective(name))]) for name in ("natural", "ours:Halves")
    }
    gaps = losses["ours:Halves"] - losses["natural"]
    assert rows["ours:Halves"]["difference"] == pytest.approx(gaps.mean())
    assert rows["ours:Halves"]["difference_standard_error"] == pytest.approx(abs(gaps[0] - gaps[1]) / 2)
    assert rows["natural"]["difference"] == 0
    assert all(row["within_limits"] for row in rows.values())


def _objective(name):
    return f"select loss from current_strategy_losses where strategy = '{name}' and target = 'objective' order by seed"


def test_candidates_are_measured_at_every_size(killed):
    folder = killed[0]
    rows = asked(folder, "select mixture, size, objective from current_strategy_candidates")
    sizes = {"target", "proxy", "small_proxy", "regressor"}
    mixtures = {mixture for mixture, _, _ in rows}
    assert len(mixtures) == 6
    assert {(mixture, size) for mixture, size, _ in rows} == {(m, s) for m in mixtures for s in sizes}
    (path,) = (folder / "home" / "strategies").glob("comparison-*.json")
    test = json.loads(path.read_text())["candidates"]
    assert set(test["rank_correlations"]) == sizes - {"target"}
    assert set(test["places"]) >= {"natural", "decision", "ours:Better"}
    for row in test["rank_correlations"].values():
        assert -1 <= row["low"] <= row["spearman"] <= row["high"] <= 1
        assert 1 <= row["rank_of_its_best"] <= 6
        assert (row["rank_of_its_best"] == 1) == (row["gap_of_its_best"] == 0)


def test_strategies_do_not_become_evidence_of_the_decision(killed):
    folder = killed[0]
    workspace = Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None)
    made = [stage for stage in STAGES if stage.name not in ("confirmation", "mixture_report")]
    assert {stage.name: workspace.stale(stage) for stage in made} == {stage.name: {} for stage in made}


def test_the_command_prints_a_table_or_json(killed):
    folder = killed[0]
    places = ["--study", str(folder / "tiny.yaml"), "--home", str(folder / "home")]
    shown = CliRunner().invoke(app, ["compare", *places], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for text in ("ours:Steering", "of the budget", "rank correlation with the target", "places on the target"):
        assert text in shown.output
    told = CliRunner().invoke(app, ["compare", *places, "--json"])
    assert len(json.loads(told.stdout)["ranking"]) == 5


def test_a_study_without_strategies_has_no_such_stage_and_the_command_says_so(study_file, tmp_path):
    workspace = Workspace(study_file, tmp_path / "home")
    assert STRATEGY_COMPARISON.expected_recipes(workspace) == {}
    told = CliRunner().invoke(app, ["compare", "--study", str(study_file), "--home", str(tmp_path / "home")])
    assert told.exit_code == 1
    assert "compares no strategies" in told.stderr


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nowhere:Nobody", {}, "cannot be imported"),
        ("json:Nobody", {}, "cannot be imported"),
        ("json:JSONDecoder", {"wrong": 1}, "unexpected keyword"),
        ("no_such_strategy", {}, "no such strategy"),
    ],
)
def test_a_wrong_name_is_refused(name, options, message):
    with pytest.raises(StudyError, match=message):
        named_strategy(name, options)


def test_details_become_plain_json():
    value = {"a": np.float64(1), 2: [np.arange(2), {"x": float("inf")}], "b": {1}, "c": object}
    assert json.loads(json.dumps(plain(value))) == {"a": 1.0, "2": [[0, 1], {"x": None}], "b": [1], "c": str(object)}
