"""Plans of a study on this machine: before it is run, after, and beside what its run left behind."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import read_json
from regmix_pipeline.planning.plan import plan_study
from regmix_pipeline.planning.stage_plans import STRATEGIES, TRAINING


@pytest.fixture(scope="module")
def place(finished_study, tmp_path_factory):
    """The finished study, at first without its home."""
    folder = tmp_path_factory.mktemp("planned") / "study"
    return shutil.copytree(finished_study, folder, ignore=shutil.ignore_patterns("home"))


def workspace_at(place):
    return Workspace(place / "tiny.yaml", place / "home", say=lambda line: None)


def plan_at(place):
    workspace = workspace_at(place)
    return plan_study(workspace.study, base=workspace.base, workspace=workspace)


@pytest.fixture(scope="module")
def before(place):
    plan = plan_at(place)
    assert not (place / "home").exists()
    return plan


@pytest.fixture(scope="module")
def after(finished_study, place, before):
    shutil.copytree(finished_study / "home", place / "home")
    return plan_at(place)


def sources(plan):
    return {stage.stage: stage.source for stage in plan.stages}


def test_before_the_run_all_is_tried_and_all_is_to_go(before):
    assert before.left == pytest.approx(before.seconds)
    said = sources(before)
    assert said["proxy_checkpoints"].startswith("measured here, ")
    assert said["confirmation"].startswith("measured here, ")
    assert said["token_shards"].startswith("measured here")
    assert said["regressor"].startswith("measured here")
    assert all(peak > 1e8 for peak in before.peaks.values())


def test_after_the_run_nothing_is_to_go_and_times_are_the_recorded_ones(after):
    assert after.left < 0.2 * after.seconds
    assert {stage.stage for stage in after.stages if stage.left > 0} <= {"domains"}
    assert {what: (left.models, left.tokens) for what, left in after.to_train.items()} == {
        "proxies": (0, 0),
        "confirmation": (0, 0),
    }
    said = sources(after)
    assert said["proxy_checkpoints"] == "recorded here: 16 models"
    assert said["confirmation"] == "recorded here: 3 models"
    assert said["token_shards"] == "recorded here: 4 shards"
    assert said["regressor"] == "recorded here"


def test_recorded_training_is_what_the_models_clocks_say(place, after):
    # Not beside the wall's clock: tests share the machine, and these models take less than a worker's start.
    # benchmarks/plan.py does that.
    planned = {stage.stage: stage.seconds for stage in after.stages}
    for folder, stage in (("proxies", "proxy_checkpoints"), ("confirmations", "confirmation")):
        clocks = [read_json(path)["seconds"] for path in (place / "home" / folder).glob("p*/proxy.json")]
        rounds = -(-len(clocks) // min(after.workers, len(clocks)))
        trained = rounds * sum(clock["total"] for clock in clocks) / len(clocks)
        assert trained < planned[stage] < 1.1 * trained + 8.0
    # This study has one size, one phase, and compares no strategies.
    assert {stage.stage for stage in after.stages if stage.devices} == set(TRAINING) - {
        STRATEGIES,
        "size_runs",
        "phase_checkpoints",
    }


def test_rows_of_the_ledger_are_as_planned(place, after):
    with read_ledger(workspace_at(place).ledger) as connection:
        found = dict(connection.execute("select table_name, estimated_size from duckdb_tables()").fetchall())
    exact = ("domain_inventory", "mixtures", "proxy_losses", "regressor_choices", "noise_floor", "out_of_fold")
    exact += ("optimal_mixture", "predictions", "decisions", "confirmations")
    assert {table: after.rows[table] for table in exact} == {table: found[table] for table in exact}
    for table in ("proxies", "regressor_scores", "records", "lineage"):
        assert after.rows[table] == pytest.approx(found[table], rel=0.35), table


def test_disk_is_as_planned(place, after):
    home = place / "home"

    def size(folder):
        return sum(path.stat().st_size for path in (home / folder).rglob("*") if path.is_file())

    assert after.disk["checkpoints"] + after.disk["trajectories"] == pytest.approx(
        size("proxies") + size("confirmations"), rel=0.1
    )
    assert after.disk["shards"] == pytest.approx(size("shards"), rel=0.1)
    assert after.disk["ledger"] == pytest.approx((home / "ledger.duckdb").stat().st_size, rel=0.3)


def test_further_proxies_are_all_that_is_to_go(place, after):
    settings = yaml.safe_load((place / "tiny.yaml").read_text())
    more = settings | {"mixtures": settings["mixtures"] | {"count": 20}}
    (place / "more.yaml").write_text(yaml.safe_dump(more, sort_keys=False))
    workspace = Workspace(place / "more.yaml", place / "home", say=lambda line: None)
    plan = plan_study(workspace.study, base=workspace.base, workspace=workspace)
    left = {stage.stage: stage.left for stage in plan.stages}
    assert left["token_shards"] == left["tokenizer"] == 0
    assert left["proxy_checkpoints"] > 0
    assert left["regressor"] > 0
    assert plan.left < plan.seconds


def test_the_command_answers_in_100_columns_and_as_json(place, after, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    options = ["plan", "--study", str(place / "tiny.yaml"), "--home", str(place / "home")]
    shown = CliRunner().invoke(app, options)
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 100
    assert "proxy_checkpoints" in shown.stdout
    assert "recorded here: 16 models" in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert found["works"][0]["left"] == 0
    on_cpus = CliRunner().invoke(app, [*options, "--hardware", "cpu-64", "--devices", "2", "--json"])
    assert json.loads(on_cpus.stdout)["hardware"]["devices"] == 2


@pytest.mark.parametrize("case", ["nothing", "text of one domain", "a setting of all proxies", "no home"])
def test_plan_and_status_say_the_same_is_to_be_trained(place, after, tmp_path, case):
    options = ["--home", str(tmp_path / "none" if case == "no home" else tmp_path / "place" / "home"), "--json"]
    shutil.copytree(place, tmp_path / "place")
    if case == "text of one domain":
        with (tmp_path / "place" / "text" / "licences.jsonl").open("a") as file:
            file.write(json.dumps({"id": "new", "text": "A licence that nobody has read before. " * 20}) + "\n")
    if case == "a setting of all proxies":
        options += ["--change", "proxies.training.tokens=24576"]

    def said(command):
        elsewhere = ["--hardware", "cpu-64"] if command == "plan" and case == "no home" else []
        words = [command, "--study", str(tmp_path / "place" / "tiny.yaml"), *options, *elsewhere]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    status, plan = said("status"), said("plan")
    rows = {row["stage"]: row for row in status["stages"]}
    for work, stage in (("proxies", "proxy_checkpoints"), ("confirmation", "confirmation")):
        left = next(each for each in plan["works"] if each["what"] == work)
        assert (left["left"], left["left_tokens"]) == (rows[stage]["models"], rows[stage]["tokens"])
    assert plan["left_tokens"] == status["training_tokens"]
    to_go = {stage["stage"] for stage in plan["stages"] if stage["left"] > 0} - {"domains"}
    # The plan leaves out what costs nothing, as what is observed on disk.
    stale = {stage for stage, row in rows.items() if len(row["stale"]) > len(row["restored"])}
    assert to_go == stale - {"domains", "finished_proxies", "adopted_mixtures"}
    models = rows["proxy_checkpoints"]["models"]
    assert {"nothing": models == 0, "text of one domain": 0 < models <= 16}.get(case, models == 16)
    if case != "no home":  # without one, text is not looked at
        assert (plan["left_at_most"], plan["guesses"]) == (status["at_most"], status["guesses"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hardware", "h1000"], "choose one of h100-sxm"),
        (["--hardware", "h100-sxm", "--teraflops", "3"], "give one of them"),
        (["--devices", "3"], "--hardware h100-sxm --devices 64"),
    ],
)
def test_what_cannot_be_planned_is_said(place, options, said):
    result = CliRunner().invoke(app, ["plan", "--study", str(place / "tiny.yaml"), *options])
    assert result.exit_code == 1
    assert said in result.stderr
