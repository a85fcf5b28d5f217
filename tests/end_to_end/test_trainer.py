"""A study whose proxies a command of the user's own trains, by the real command: rounds, decision, kills, changes."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from regmix_pipeline.engine.ledger import read_ledger
from tests.end_to_end.test_changes import proxies, regmix, write

BIGRAM = Path(__file__).parents[2] / "studies" / "command" / "bigram.py"
TOKENS = 16_384


@pytest.fixture(scope="module")
def settings(tiny_settings):
    return {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "mixtures": {"count": 18, "minimum": 0.02, "anchors": {"natural": True}, "rounds": {"number": 2, "first": 0.9}},
        "regression": {"regressors": ["exponential", "linear"], "bootstrap": 50},
        "proxies": {
            "preset": "demo",
            "model": {"context": 32},
            "training": {"tokens": TOKENS},
            "noise": {"mixtures": 0},
            "workers": 2,
            "trainer": {
                "command": f"{sys.executable} bigram.py {{mixture_file}} {{out}}",
                "files": ["bigram.py"],
                "hours": 0.5,
            },
        },
    }


@pytest.fixture(scope="module")
def decided(real_text, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainer")
    shutil.copytree(real_text, folder / "text")
    shutil.copy(BIGRAM, folder)
    write(folder, settings)
    before = json.loads(regmix(folder, "status", "--json")), json.loads(regmix(folder, "plan", "--json"))
    return folder, before, json.loads(regmix(folder, "run", "--json"))


@pytest.fixture
def place(decided, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(decided[0], folder)
    return folder


def attempts(folder):
    """Proxy -> how often its command was started."""
    return {
        path.parent.name: path.read_text().count(" attempt ")
        for path in (folder / ".regmix" / "tiny" / "runs").glob("p*/log.txt")
    }


def test_the_cost_is_said_before_and_is_what_it_takes(decided):
    folder, (status, plan), _ = decided
    assert status["training_tokens"] == 19 * TOKENS == len(proxies(folder)) * TOKENS
    (work,) = plan["works"]
    assert (work["models"], work["tokens"], work["parameters"]) == (19, TOKENS, None)
    training = next(row for row in plan["stages"] if row["stage"] == "proxy_checkpoints")
    assert training["source"] == "proxies.trainer.hours"
    assert training["seconds"] == pytest.approx(10 * 1800, rel=0.01)
    recorded = json.loads(regmix(folder, "plan", "--json"))
    assert "recorded here: 19 commands" in [row["source"] for row in recorded["stages"]]


def test_rounds_lead_to_a_decision_on_what_the_command_measured(decided):
    folder, _, outcome = decided
    decision = outcome["decision"]
    assert [row["measured"] for row in decision["rounds"]] == [16, 2]
    assert all(check["passed"] for check in decision["checks"] if "executed" in check["check"])
    assert set(attempts(folder)) == proxies(folder)
    assert set(attempts(folder).values()) == {1}
    home = folder / ".regmix" / "tiny"
    with read_ledger(home / "ledger.duckdb") as ledger:
        found = dict(
            ledger.execute("select proxy, loss from current_proxy_losses where target = 'science' and final").fetchall()
        )
        drawn = ledger.execute("select sum(executed_tokens), max(epochs) from current_proxies").fetchall()[0]
    for name, loss in found.items():
        assert json.loads((home / "proxies" / name / "losses.json").read_text())["losses"]["science"]["loss"] == loss
    assert drawn[0] == 19 * TOKENS
    # As often as the large run of 400,000 tokens would: it has more text than that of no domain.
    assert 0 < drawn[1] < 4


def test_it_is_audited_with_its_hashes(place):
    path = sorted((place / ".regmix" / "tiny" / "proxies").glob("p*/losses.json"))[0]
    path.write_text(path.read_text().replace('"step": ', '"step": 1'))
    assert f"{path.parent.name}/losses.json is not what was recorded" in regmix_output(place, "audit")
    # Without it, it is made again of what the command left, and the command is not run.
    shutil.rmtree(path.parent)
    before = attempts(place)
    regmix(place, "run")
    assert attempts(place) == before


def regmix_output(folder, *words):
    """Standard output of a command, however it ends."""
    command = [sys.executable, "-m", "regmix_pipeline.cli", *words, "--study", str(folder / "tiny.yaml")]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder).stdout


def test_what_the_command_depends_on_trains_again_and_nothing_else_does(place, settings):
    assert json.loads(regmix(place, "run", "--json"))["made"] == []
    trainer = settings["proxies"]["trainer"] | {"tolerance": 0.02, "silent_minutes": 5}
    write(place, settings | {"proxies": settings["proxies"] | {"trainer": trainer}})
    assert json.loads(regmix(place, "status", "--json"))["training_tokens"] == 0
    script = place / "bigram.py"
    script.write_text(script.read_text().replace("PRIOR = 0.05", "PRIOR = 0.06"))
    assert json.loads(regmix(place, "status", "--json"))["training_tokens"] >= 17 * TOKENS
    script.unlink()
    assert "proxies.trainer.files.0" in regmix(place, "status")


@pytest.mark.kills
def test_killed_in_the_middle_it_trains_only_what_is_missing(decided, study_in, tmp_path):
    whole = study_in(decided[0], ".regmix/tiny")
    study = study_in(whole.without_home(tmp_path / "killed").folder, ".regmix/tiny")
    shutil.rmtree(study.home, ignore_errors=True)
    command = study.start().says(r"proxy_checkpoints +\d+/17 ")
    command.kill()
    command.gone()
    finished = {path.parent.name for path in study.home.glob("proxies/p*/proxy.json")}
    assert 0 < len(finished) < 17
    interrupted = study.start().says(r"proxy_checkpoints: \d+ of 17")
    interrupted.signal(signal.SIGINT)
    assert interrupted.ended() == 130, interrupted.text
    interrupted.gone()
    study.does("run")
    started = attempts(study.folder)
    assert {started[name] for name in finished} == {1}
    assert study.contents() == whole.contents()
    study.does("audit")


@pytest.mark.kills
def test_a_command_that_outlives_the_run_is_waited_for_and_not_run_twice(decided, settings, study_in, tmp_path):
    study = study_in(study_in(decided[0], ".regmix/tiny").without_home(tmp_path / "orphan").folder, ".regmix/tiny")
    shutil.rmtree(study.home, ignore_errors=True)
    # Every command waits until the gate is open.
    command = f"echo $$; while ! test -e gate; do sleep 0.1; done; {settings['proxies']['trainer']['command']}"
    trainer = {"command": command, "files": ["bigram.py"]}
    write(study.folder, settings | {"proxies": settings["proxies"] | {"trainer": trainer}})
    first = study.start().says(r"17 runs of")
    until = time.monotonic() + 60
    while len(attempts(study.folder)) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    orphans = attempts(study.folder)
    assert len(orphans) == 2
    # All of the run at once, so that nobody is left to end the commands, which are in groups of their own.
    first.kill()
    second = study.start().says(r"17 runs of")
    time.sleep(3)
    assert attempts(study.folder) == orphans
    (study.folder / "gate").touch()
    assert second.ended() == 0, second.text
    started = attempts(study.folder)
    assert {started[name] for name in orphans} == {1}
    assert len(started) == len(proxies(study.folder)) == 19
    first.kill_all()


WRONG = {
    "{mixture_fiel}": "is no placeholder",
    "./train.sh {out}": r"{mixture_file} is needed",
}


@pytest.mark.parametrize("command", WRONG)
def test_a_command_that_cannot_work_is_refused_before_anything_is_made(real_text, settings, tmp_path, command):
    shutil.copytree(real_text, tmp_path / "text")
    trainer = {"command": f"./train.sh {command} {{out}}"}
    write(tmp_path, settings | {"proxies": settings["proxies"] | {"trainer": trainer}})
    said = regmix(tmp_path, "run", ends=1)
    assert WRONG[command] in said
    assert "proxies.trainer.command" in said
    assert not (tmp_path / ".regmix").exists()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"early_stopping": {}}, "proxies.early_stopping"),
        ({"engine": {"kind": "ray"}}, "proxies.engine.kind"),
        ({"engine": {"store": "s3://bucket"}}, "proxies.engine.store"),
        ({"trainer": None, "engine": {"kind": "slurm"}}, "proxies.engine.kind"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, tmp_path, change, place):
    from regmix_pipeline.errors import StudyError
    from regmix_pipeline.study.file import load_study

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings | {"proxies": settings["proxies"] | change}))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert place in str(caught.value)
