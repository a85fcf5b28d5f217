"""Twenty kills of the real command at random moments: `make test-kills`. REGMIX_KILLS_SEED repeats an earlier row."""

import os
import random
import subprocess
import time

import pytest

KILLS = 20


@pytest.mark.kills
@pytest.mark.timeout(7200)
def test_killed_at_random_moments_it_ends_with_the_same_bits(finished, tmp_path):
    seed = int(os.environ.get("REGMIX_KILLS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"REGMIX_KILLS_SEED={seed}")
    chance = random.Random(seed)
    started = time.monotonic()
    finished.without_home(tmp_path / "timed").does("run")
    whole = time.monotonic() - started
    kills, homes = 0, 0
    while kills < KILLS:
        homes += 1
        study = finished.without_home(tmp_path / f"study{homes}")
        ended = False
        while not ended and kills < KILLS:
            command = study.start()
            try:
                # What is done stays done, so several kills fall on each home, and no two in the same place.
                assert command.process.wait(chance.uniform(1, whole)) == 0, command.text
                ended = True
            except subprocess.TimeoutExpired:
                what = chance.choice(["all", "first"])
                command.kill(what)
                command.gone()
                kills += 1
                at = next((line for line in reversed(command.lines) if line), "its start")
                print(f"kill {kills:2} ({what}), home {homes}, after: {at.strip()[:90]}", flush=True)
        study.does("run")
        assert study.contents() == finished.contents()
        study.does("audit")
        print(f"home {homes}: the same bits", flush=True)
