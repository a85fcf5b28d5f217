"""Killed or stopped at any moment: the next run continues, and ends with the same bits."""

import re
import signal

from filelock import FileLock

from regmix_pipeline.home_lock import LOCK

TOKENISING, TRAINING, MEASURING = r"\] token_shards: 4 of 4", r"proxy_checkpoints +\d", r"proxy_losses +\d"
REGRESSION, CONFIRMATION = r"\] regressor: new", r"confirmation +\d"
"""What a run says while a stage is at work."""

KILLED = "SIGKILL to all processes"
ORPHANED = "SIGKILL to the first process, whose children have to end by themselves"
STOPS = {
    signal.SIGTERM: r"interrupted(: \d of 4 sources tokenised| during token_shards); run again to continue",
    signal.SIGINT: r"interrupted: \d+ of 16 proxies trained; run again to continue",
    signal.SIGHUP: r"interrupted: \d+ of 32 losses measured; run again to continue",
}
MOMENTS = [
    (TOKENISING, signal.SIGTERM),
    (TOKENISING, KILLED),
    (TRAINING, ORPHANED),
    (TRAINING, signal.SIGINT),
    (MEASURING, KILLED),
    (MEASURING, signal.SIGHUP),
    (REGRESSION, ORPHANED),
    (CONFIRMATION, KILLED),
]


def test_killed_and_stopped_in_five_stages_it_continues_to_the_same_bits(finished, tmp_path):
    study = finished.without_home(tmp_path / "study")
    before = None
    for moment, how in MOMENTS:
        command = study.start().says(moment)
        if how in STOPS:
            check_stop(command, how)
        else:
            command.kill("all" if how == KILLED else "first")
        command.gone()
        # A run that was stopped has been reported as cancelled; one that was killed is found dead by the next.
        assert ("the process of this run was killed" in command.text) == (before in (KILLED, ORPHANED)), command.text
        before = how
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


def test_whoever_waits_says_for_whom_and_stops_at_once(finished, tmp_path):
    study = finished.copied(tmp_path / "study")
    with FileLock(study.home / LOCK):
        (study.home / "records" / "current" / "regressor" / "all.json").unlink()
        waiting = study.start().says(r"waiting for .*, which is at work in ")
        waiting.signal(signal.SIGINT)
        assert waiting.ended() == 130, waiting.text
        waiting.gone()
    study.does("run")
