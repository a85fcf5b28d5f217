"""What a change of the study costs, by the real command: only what it must, said before, and nothing to undo it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.planning.forecast.forecast import forecast_of

LOOKING = ("status", "plan", "explain", "audit", "diff")
"""Commands that only look. They are run in this process: to start another one takes longer than they do."""


def looked(folder, *words):
    """What a command that only looks ends with, and its standard output and error."""
    nothing = {name: None for name in os.environ if name.startswith("REGMIX_")}
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, list(words), env=nothing)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def regmix(folder, *arguments, ends=0, where=None):
    """The real command on the study in a folder; its standard output."""
    words = [*arguments, "--study", str(folder / "tiny.yaml")]
    if arguments[0] in LOOKING:
        status, out, err = looked(where or folder, *words)
    else:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGMIX_")}
        command = [sys.executable, "-m", "regmix_pipeline.cli", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=where or folder, env=environment)
        status, out, err = done.returncode, done.stdout, done.stderr
    assert status == ends, err
    assert "Traceback" not in err
    return out if ends == 0 else err


def write(folder, settings):
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))


def proxies(folder):
    return {path.parent.name for path in (folder / ".regmix" / "tiny" / "proxies").glob("p*/proxy.json")}


def run_as_forecast(folder):
    """Run, and compare with what status said before; the decision's id and the proxies that were trained."""
    before, said = proxies(folder), json.loads(regmix(folder, "status", "--json"))
    outcome = json.loads(regmix(folder, "run", "--json"))
    stale_in_forecast = {row["stage"]: sorted(row["stale"]) for row in said["stages"] if row["stale"]}
    assert {row["stage"]: sorted(row["made"]) for row in outcome["made"]} == stale_in_forecast
    restored = {row["stage"]: row["restored"] for row in said["stages"] if row["restored"]}
    assert {row["stage"]: row["restored"] for row in outcome["made"] if row["restored"]} == restored
    new = proxies(folder) - before
    assert next(row["models"] for row in said["stages"] if row["stage"] == "proxy_checkpoints") == len(new)
    return outcome["decision"]["decision"], new


@pytest.fixture(scope="module")
def settings(tiny_settings):
    return {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "mixtures": {"count": 8, "minimum": 0.05, "anchors": {"natural": True}},
        "regression": {"regressors": ["linear", "exponential"]},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
    }


@pytest.fixture(scope="module")
def decided(real_text, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes")
    shutil.copytree(real_text, folder / "text")
    write(folder, settings)
    regmix(folder, "run")
    return folder


@pytest.fixture
def place(decided, tmp_path):
    """A copy of the study and its home, both moved together."""
    folder = tmp_path / "study"
    shutil.copytree(decided, folder)
    return folder


def test_limits_train_nothing_and_undone_they_lead_back_to_the_decision(place, settings):
    first = find_decision(Workspace(place / "tiny.yaml"))["decision"]
    assert json.loads(regmix(place, "status", "--json"))["training_tokens"] == 0
    tight = settings["limits"] | {"max_epochs": 2}
    capped = settings["domains"] | {"descriptions": settings["domains"]["descriptions"] | {"cap": 0.3, "floor": 0.1}}
    found = []
    for changed in ({"limits": tight, "domains": capped}, {}):
        write(place, settings | changed)
        decision, new = run_as_forecast(place)
        assert not new
        found.append(decision)
    assert found[1] == first != found[0]


@pytest.mark.slow
def test_text_that_is_changed_back_leads_back_to_the_decision(place):
    first = json.loads(regmix(place, "run", "--json"))["decision"]["decision"]
    text = place / "text" / "licences.jsonl"
    before = text.read_bytes()
    text.write_bytes(before + json.dumps({"id": "new", "text": "A licence that is new. " * 20}).encode() + b"\n")
    assert json.loads(regmix(place, "run", "--json"))["decision"]["decision"] != first
    text.write_bytes(before)
    decision, new = run_as_forecast(place)
    assert not new
    assert decision == first
    # What was trained meanwhile is on record, and no evidence.
    with read_ledger(place / ".regmix" / "tiny" / "ledger.duckdb") as connection:
        found = connection.execute("select distinct kept, rule from current_earlier_runs").fetchall()
    assert [(kept, rule.split(", and")[0]) for kept, rule in found] == [(False, "documents of licences changed since")]
    regmix(place, "audit")


@pytest.mark.slow
def test_a_renamed_domain_trains_nothing(place, settings):
    def renamed(values):
        return {"programs" if name == "code" else name: value for name, value in values.items()}

    changed = settings | {"domains": renamed(settings["domains"]), "targets": renamed(settings["targets"])}
    write(place, changed)
    said = json.loads(regmix(place, "status", "--json"))
    assert said["training_tokens"] > 0
    assert "rename: code, to: programs" in said["suggestions"][0]
    write(place, changed | {"changes": [{"rename": "code", "to": "programs"}]})
    _, new = run_as_forecast(place)
    assert not new
    home = place / ".regmix" / "tiny"
    assert len({path.stat().st_ino for path in home.glob("shards/*/*/train.ds")}) == 3
    difference = json.loads(regmix(place, "diff", "--json"))
    assert difference["inputs"]["domains"] == {"came": [], "removed": [], "renamed": {"code": "programs"}}
    assert difference["evidence"]["mixtures"] == {
        "kept": 9,
        "trained_again": 0,
        "only_measured_again": 0,
        "added": 0,
        "removed": 0,
    }
    assert all(abs(row["largest_change"]) < 1e-9 for row in difference["evidence"]["losses"])
    regmix(place, "audit")


def test_a_change_is_priced_and_a_budget_of_nothing_trains_nothing(place, settings):
    files = {path: path.stat().st_mtime_ns for path in (place / ".regmix" / "tiny").rglob("*")}
    more = json.loads(regmix(place, "status", "--json", "--change", "mixtures.count=10"))
    assert more["training_tokens"] == 2 * 16_384
    assert not more["at_most"]
    gone = json.loads(regmix(place, "status", "--json", "--change", "domains.licences="))
    assert gone["training_tokens"] > 0
    assert files == {path: path.stat().st_mtime_ns for path in (place / ".regmix" / "tiny").rglob("*")}
    write(place, settings | {"mixtures": settings["mixtures"] | {"count": 10}})
    before = proxies(place)
    left = json.loads(regmix(place, "refit", "--max-new-tokens", "0", "--json"))["left_out"]
    assert left == ["proxy_checkpoints: 2 models on 32,768 tokens; the budget has 0 left"]
    assert proxies(place) == before
    without = {name: value for name, value in settings["domains"].items() if name != "licences"}
    write(place, settings | {"domains": without})
    assert "which the study no longer has" in regmix(place, "train", "--slice", "1/4", ends=1)


def test_the_home_is_found_from_anywhere_and_is_one_files(place, settings, tmp_path):
    assert "home_is_new" in regmix(place, "status", "--json", where=tmp_path)
    assert Workspace(place / "tiny.yaml").home == place / ".regmix" / "tiny"
    (place / "other").mkdir()
    write(place / "other", settings)
    assert "was made for another study file" in regmix(place / "other", "status", ends=1)
    alone = tmp_path / "alone"
    alone.mkdir()
    write(alone, settings)
    shutil.copytree(place / "text", alone / "text")
    said = json.loads(regmix(alone, "status", "--json"))
    assert said["home_is_new"]
    assert said["training_tokens"] == 9 * 16_384
    assert not (alone / ".regmix").exists()


def test_revised_text_is_trained_on_again_only_where_it_is_drawn(place, settings):
    with (place / "text" / "licences.jsonl").open("a") as file:
        file.write(json.dumps({"id": "new", "text": "A licence that nobody has read before. " * 20}) + "\n")
    found = forecast_of(Workspace(place / "tiny.yaml"))
    listed = Workspace(place / "tiny.yaml").json("mixtures")["mixtures"]
    drawing = {entry["id"] for entry in listed if "licences" in entry["parts"]}
    assert set(found.of("proxy_checkpoints").stale) == drawing
    assert any("licences is not tokenised yet" in guess for guess in found.guesses)
    revised = forecast_of(Workspace(place / "tiny.yaml", changes=["changes=[{revise: licences}]"]))
    assert revised.of("proxy_checkpoints").models == 0
