"""The real command in processes of its own: watched by what it says, killed or stopped, and its homes compared."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import duckdb
import pytest

from tests.end_to_end.test_changes import LOOKING, looked, regmix, write

PATIENCE = 300
"""Seconds after which something that has to happen counts as never happening."""
ONLY_CURRENT = {"records": " where current or asset <> 'finished_proxies'"}
"""What a run found on disk when it began depends on how far the one before it had come."""
NOT_CONTENT = {
    "records": {"made_at", "seconds", "run", "facts", "sums"},
    "decisions": {"decided_at", "record"},
}
"""Columns that hold times, and what follows from times."""


class Command:
    """One `regmix` command at work.

    Its environment has a mark that all its descendants inherit: so it is known when the last of them has ended.
    """

    def __init__(self, folder, *words, environment=None):
        self.mark = f"REGMIX_TEST_MARK={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "regmix_pipeline.cli", *words],
            cwd=folder,
            env=os.environ | (environment or {}) | {name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
            # Tests that run under nohup ignore it, and what they start would as well.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        self.lines, self.output = [], ""
        self._news = threading.Condition()
        self._readers = [threading.Thread(target=each, daemon=True) for each in (self._read, self._take)]
        for reader in self._readers:
            reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append(None)
            self._news.notify_all()

    def _take(self):
        self.output = self.process.stdout.read()

    def says(self, pattern):
        """Wait until a line of standard error matches."""
        with self._news:
            found = self._news.wait_for(
                lambda: any(line is None or re.search(pattern, line) for line in self.lines), PATIENCE
            )
            assert found, f"nothing said {pattern!r}: {self.lines}"
            assert any(line is not None and re.search(pattern, line) for line in self.lines), self.lines
        return self

    def kill(self, what="all"):
        """SIGKILL, to all processes of the command or to the first alone."""
        (os.killpg if what == "all" else os.kill)(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)

    def signal(self, number, what="all"):
        """A signal, to all processes of the command, as a terminal sends it, or to the first alone."""
        (os.killpg if what == "all" else os.kill)(self.process.pid, number)

    def ended(self):
        """Wait until the command has ended; returns its status."""
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        self.lines = [line for line in self.lines if line is not None]
        return status

    @property
    def text(self):
        """All that it has said."""
        return "\n".join(line for line in self.lines if line is not None) + self.output

    def left(self):
        """Descendants that are still there: process id -> command."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                    found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile
                continue
        return found

    def kill_all(self):
        """Leave nothing behind, however a test ended."""
        while left := self.left():
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.05)

    def gone(self):
        """Wait until all descendants have ended."""
        until = time.monotonic() + PATIENCE
        while left := self.left():
            assert time.monotonic() < until, f"left behind: {left}"
            time.sleep(0.05)


class Study:
    """A study in a folder of its own, and its home, by default beside it."""

    def __init__(self, folder, home="home"):
        self.folder, self.home = folder, folder / home

    @property
    def places(self):
        """The words that say which study and home."""
        return ["--study", str(self.folder / "tiny.yaml"), "--home", str(self.home)]

    def start(self, command="run", *words, environment=None):
        """Start a command about this study."""
        return Command(self.folder, command, *self.places, *words, environment=environment)

    def does(self, command="run", *words, status=0, environment=None):
        """Run a command to its end; returns all that it said."""
        if command in LOOKING and environment is None:
            ended, out, err = looked(self.folder, command, *self.places, *words)
            assert ended == status, err + out
            return err.removesuffix("\n") + out
        started = self.start(command, *words, environment=environment)
        assert started.ended() == status, started.text
        assert "Traceback" not in started.text
        return started.text

    def copied(self, folder):
        """A copy of the study and its home."""
        shutil.copytree(self.folder, folder)
        return Study(folder)

    def without_home(self, folder):
        """A copy of the study that was never run."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("home", "data"))
        return Study(folder)

    def contents(self):
        """What the home holds, without times: hashes of weights, shards, trajectories and losses, and the tables."""
        names = (
            "proxies/p*/*.safetensors",
            # Not speed.parquet, which is of clocks.
            "proxies/p*/trajectory.parquet",
            "confirmations/p*/*.safetensors",
            # What a kill left half-written begins with a dot.
            "shards/*/[!.]*/*.ds",
        )
        files = [path for name in (*names, "evaluations/*/[!.]*.json") for path in self.home.glob(name)]
        found = {str(path.relative_to(self.home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        with duckdb.connect(str(self.home / "ledger.duckdb"), read_only=True) as ledger:
            tables = [name for (name,) in ledger.execute("select table_name from duckdb_tables()").fetchall()]
            for table in set(tables) - {"ledger_info"}:
                columns = [row[0] for row in ledger.execute(f"describe {table}").fetchall()]
                kept = ", ".join(f'"{name}"' for name in columns if name not in NOT_CONTENT.get(table, ()))
                found[table] = sorted(
                    map(repr, ledger.execute(f"select {kept} from {table}{ONLY_CURRENT.get(table, '')}").fetchall())
                )
        return found


@pytest.fixture(scope="module")
def decided(real_text, settings, tmp_path_factory):
    """The folder of a module's ``settings``, what `regmix status` said before, and what `regmix run` said."""
    folder = tmp_path_factory.mktemp("decided")
    shutil.copytree(real_text, folder / "text")
    for path in (folder / "text").iterdir():
        # Of another machine, whose clock is ahead: never older than a moment.
        os.utime(path, (time.time() + 3600,) * 2)
    write(folder, settings)
    return folder, json.loads(regmix(folder, "status", "--json")), json.loads(regmix(folder, "run", "--json"))


@pytest.fixture
def place(decided, tmp_path):
    """A copy of the folder."""
    folder = tmp_path / "study"
    shutil.copytree(decided[0], folder)
    return folder


@pytest.fixture
def command():
    """Start a command: ``command(folder, *words)``."""
    return Command


@pytest.fixture(scope="module")
def study_in():
    """The study of a folder: ``study_in(folder, home)``."""
    return Study


@pytest.fixture
def study(study_file):
    """The tiny study, which was never run."""
    return Study(study_file.parent)


@pytest.fixture(scope="session")
def finished(finished_study):
    """A small study and its home, made without an interruption. Tests copy it."""
    return Study(finished_study)
