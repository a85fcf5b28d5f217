"""Killed or stopped at any moment: the next run continues, and ends with the same bits."""

import json
import re
import signal

import duckdb
import pytest
import yaml
from filelock import FileLock

from regmix_pipeline.engine.home_lock import LOCK
from tests.end_to_end.test_changes import looked

TOKENISING, TRAINING, MEASURING = r"\] token_shards: ", r"proxy_checkpoints +\d", r"proxy_losses +\d"
REGRESSION, CONFIRMATION = r"\] regressor: new", r"confirmation +\d"
"""What a run says while a stage is running."""
INSIDE = (TRAINING, MEASURING, CONFIRMATION)
"""Said by a stage itself, so while Dagster's run of it is going."""

KILLED = "SIGKILL to all processes"
ORPHANED = "SIGKILL to the first process, whose children have to end by themselves"
STOPS = {
    # Sources are tokenised in no time: the signal may find the next stage.
    signal.SIGTERM: r"interrupted(: \d of 4 sources tokenised| during \w+); run again to continue",
    signal.SIGINT: r"interrupted: \d+ of \d+ proxies trained; run again to continue",
    signal.SIGHUP: r"interrupted: \d+ of \d+ losses measured; run again to continue",
}
TRAINED = r"interrupted: \d+ of \d+ proxies trained; run again to continue"
COMPARED = r"interrupted.* strategy_comparison; run again to continue"
MOMENTS = [
    (TOKENISING, signal.SIGTERM),
    (TRAINING, ORPHANED),
    (TRAINING, signal.SIGINT),
    (MEASURING, signal.SIGHUP),
    (REGRESSION, ORPHANED),
    (CONFIRMATION, KILLED),
]


def test_killed_and_stopped_in_five_stages_it_continues_to_the_same_bits(finished, tmp_path):
    study = finished.without_home(tmp_path / "study")
    killed, inside = False, False
    for moment, how in MOMENTS:
        command = study.start().says(moment)
        if how in STOPS:
            check_stop(command, how)
        else:
            command.kill("all" if how == KILLED else "first")
        command.gone()
        # A run that was stopped has been reported as cancelled; one that was killed is found dead by the next. Where
        # the line came before the stage's run began, there may have been none to find.
        found = "the process of this run was killed" in command.text
        assert found if killed and inside else (killed or not found), command.text
        killed, inside = how in (KILLED, ORPHANED), moment in INSIDE
    study.does("run")
    assert study.contents() == finished.contents()
    study.does("audit")


def check_stop(command, number):
    """Send a signal twice, as an impatient person does, and look at the end."""
    for _ in range(2):
        # Ctrl-C and a closed terminal reach all processes of the command.
        command.signal(number, "first" if number == signal.SIGTERM else "all")
    assert command.ended() == 128 + number, command.text
    assert re.fullmatch(STOPS[number], command.lines[-1]), command.text
    assert "Traceback" not in command.text
    assert "rror" not in command.text


@pytest.mark.parametrize(
    ("command", "words", "change", "said", "number", "line"),
    [
        ("train", [], {"seed": 8}, r"slice 1/1 +\d", signal.SIGHUP, TRAINED),
        ("refit", ["--max-new-tokens", "10000000"], {"seed": 8}, r"proxy_checkpoints +\d", signal.SIGTERM, TRAINED),
        ("compare", [], {"strategies": {"names": ["uniform"]}}, r"strategy_comparison: ", signal.SIGINT, COMPARED),
    ],
)
def test_a_stop_ends_the_command_in_one_line(finished, tmp_path, command, words, change, said, number, line):
    study = finished.copied(tmp_path / "study")
    file = study.folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | change, sort_keys=False))
    started = study.start(command, *words).says(said)
    started.signal(number)
    assert started.ended() == 128 + number, started.text
    assert re.fullmatch(line, started.lines[-1]), started.text
    assert "Traceback" not in started.text
    started.gone()


def test_whoever_waits_says_for_whom_and_stops_at_once(finished, tmp_path):
    study = finished.copied(tmp_path / "study")
    with FileLock(study.home / LOCK):
        (study.home / "records" / "current" / "regressor" / "all.json").unlink()
        waiting = study.start().says(r"waiting for .*, which is running in ")
        waiting.signal(signal.SIGINT)
        assert waiting.ended() == 130, waiting.text
        waiting.gone()
    study.does("run")


def damage(*paths):
    """Empty some files and cut others in half, in place: a record in current/ and in history/ is one file."""
    for number, path in enumerate(paths):
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(0)
            file.write(content[: len(content) // 2] if number % 2 else b"")


def test_damaged_files_are_named_and_made_again(finished, tmp_path):
    study = finished.copied(tmp_path / "study")
    current = study.home / "records" / "current"
    records = [current / "domain_inventory" / "all.json", sorted((current / "proxy_losses").glob("*.json"))[0]]
    damage(*records)
    status, audit = study.does("status", "--json"), study.does("audit", status=1)
    for path in records:
        assert f"its record {path.relative_to(study.home)} is damaged" in status
        assert str(path) in audit.replace("\n", "")

    artefacts = [
        *(sorted(study.home.glob(f"{kind}/*.json"))[0] for kind in ("mixtures", "inventory", "optima")),
        *study.home.glob("decisions/d*/decision.json"),
        sorted(study.home.glob("tables/proxies/*.parquet"))[0],
    ]
    first, second, *_ = sorted(study.home.glob("proxies/p*"))
    of_proxies = [first / "proxy.json", second / "trajectory.parquet"]
    # Of a record that can be read: the audit knows the measurements by it.
    measured = json.loads(sorted((current / "proxy_losses").glob("*.json"))[1].read_text())["files"]
    of_proxies += [study.home / name for name in measured if name.startswith("evaluations/")][:2]
    damage(*artefacts)
    status = study.does("status", "--json")
    assert f"{artefacts[0].relative_to(study.home)} is damaged" in status
    assert "regmix-forecast" not in status
    assert not any(row["problem"] for row in json.loads(status[status.index("{") :])["stages"])
    damage(*of_proxies)
    audit = study.does("audit", status=1)
    for path in of_proxies:
        assert str(path.relative_to(study.home)) in audit.replace("\n", "")
    damage(study.home / "ledger.duckdb")
    made = study.does("run")
    assert f"{of_proxies[0].relative_to(study.home)} is damaged" in made
    assert study.contents() == finished.contents()
    study.does("audit")
    assert "nothing to do" in study.does("run")


def test_a_ledger_that_somebody_writes_into_stops_nobody(finished, tmp_path):
    study = finished.copied(tmp_path / "study")
    writer = duckdb.connect(str(study.home / "ledger.duckdb"))
    writer.execute("create table scratch as select * from proxy_losses")
    writer.execute("begin")
    writer.execute("update proxy_losses set loss = 0")
    study.does("run")
    # In another process than the writer's: DuckDB keeps out what opens the file beside it, and not what is with it.
    assert study.start("audit").ended() == 0
    writer.execute("commit")
    writer.close()
    assert study.contents() == finished.contents()
    # What a notebook leaves whose kernel died.
    (study.home / "ledger.duckdb.wal").write_bytes(b"of another file")
    study.does("explain", "code")
    study.does("run")
    assert study.contents() == finished.contents()


def test_half_of_dagster_s_settings_is_written_anew_and_rubbish_is_named(finished, tmp_path):
    study = finished.copied(tmp_path / "study")
    settings = study.home / "dagster" / "dagster.yaml"
    whole = settings.read_bytes()
    settings.write_bytes(whole[: len(whole) // 2])
    study.does("run")
    assert settings.read_bytes() == whole
    for rubbish in ("telemetry: [", "telemetry: {enabled: false}\nconcurency: {}\n"):
        settings.write_text(rubbish)
        status, _, said = looked(study.folder, "run", *study.places)  # refused before anything runs
        assert status == 1
        assert str(settings) in said
