"""Damaged homes: what commands say of files that a disk or a hand has changed, and what `regmix run` makes again.

    python benchmarks/damages.py [COUNT] [--first NUMBER] [--seed SEED] [--only FOLDER] [--number NUMBER]

COUNT is where it ends, by default 300.

Every damage is of one file of a finished home: a bit flipped, cut, emptied, deleted, or bytes put at its end. First a
folder of the home is drawn, then a file below it. `status`, `audit`, `run` and again `audit` are run on a copy that has
this one damage, in another process.

A damage is unnoticed if no command names it and yet, after `run`, the file is not what it was. Records name the time
and the run that made them, and the ledger is compared by its rows: bytes of it that hold no rows count as harmless.
Nothing decides on logs, locks, speeds, notes of what was checked and Dagster's own databases (`dagster/`,
`proxies-locks/`, `*.lock`, `*.checked`), so no audit looks at them. There, no command may end with a Python traceback,
and that is all that counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import yaml

from regmix_pipeline.files import sha256_of

KINDS = ("flip", "cut", "empty", "delete", "append")
COMMANDS = (("status",), ("audit",), ("run",), ("audit",))
SOURCES = {"web": ("w",), "code": ("c",), "law": ("l",), "goal": ("w", "c")}
"""Source -> the letters that its words begin with."""
OUTSIDE = ("dagster", "proxies-locks")
"""Folders of a home that nothing decides on."""
TIMES = ("made_at", "seconds", "run", "decided_at")
"""Fields of records that tell when and in which run."""


@dataclass
class Outcome:
    """What one damage led to.

    Attributes:
        file: the damaged file, relative to the home.
        kind: what was done to it.
        traceback: the command that ended by a traceback or a signal, and its last line; "" if none did.
        named: whether `status` or `audit` named it or `run` said that it made something again.
        after: the file after `run`: as it was, harmless, or other.
        said: what each command said.
    """

    file: str
    kind: str
    traceback: str = ""
    named: bool = False
    after: str = "other"
    said: list[tuple[int, str]] = field(default_factory=list)

    @property
    def outside(self) -> bool:
        """Whether nothing decides on the file."""
        return self.file.split("/")[0] in OUTSIDE or self.file.endswith((".lock", ".log", ".checked", "speed.parquet"))

    @property
    def unnoticed(self) -> bool:
        """Whether the damage is there, and nothing said so."""
        return self.after == "other" and not (self.outside or self.named)

    def __str__(self) -> str:
        state = ["unnoticed"] if self.unnoticed else ["named"] if self.named else []
        return ", ".join([*state, f"after `run` {self.after}", *([self.traceback] if self.traceback else [])])


def write_study(folder: Path) -> Path:
    """A study of three domains of made-up words, and a target, that runs in seconds."""
    (folder / "text").mkdir()
    for name, letters in SOURCES.items():
        rng = random.Random(name)
        words = [f"{letter}{number}" for letter in letters for number in range(40)]
        lines = [json.dumps({"text": " ".join(rng.choices(words, k=60))}) for _ in range(220)]
        (folder / "text" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    settings: dict[str, Any] = {
        "name": "damages",
        "seed": 7,
        "domains": {name: {"source": {"jsonl": f"text/{name}.jsonl"}} for name in ("web", "code", "law")},
        "targets": {"goal": {"source": {"jsonl": "text/goal.jsonl"}}},
        "tokenizer": {"train": {"vocab_size": 400, "bytes_per_domain": 60_000}},
        "shards": {"validation_fraction": 0.1},
        "mixtures": {"count": 8, "minimum": 0.05},
        "proxies": {
            "preset": "demo",
            "model": {"context": 32, "layers": 1, "width": 16, "heads": 2, "ffn_width": 32},
            "training": {"tokens": 16_384, "windows_per_step": 16, "learning_rate": 0.02},
            "evaluation": {"windows": 16, "trajectory_points": 2},
            "noise": {"mixtures": 2, "seeds": 2},
            "workers": 1,
        },
        "regression": {"regressors": ["linear", "saturation"], "bootstrap": 50, "extrapolation": "off"},
        "search": {"candidates": 2000, "screen": 500},
        "limits": {"target_tokens": 40_000, "max_epochs": 4},
    }
    path = folder / "damages.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def damage(path: Path, kind: str, rng: random.Random) -> None:
    """Damage a file, as a new file in its place."""
    content = bytearray(path.read_bytes())
    path.unlink()
    if kind == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "empty":
        content.clear()
    elif kind == "append":
        content += rng.randbytes(rng.randint(1, 64))
    if kind != "delete":
        path.write_bytes(content)


def draw(home: Path, rng: random.Random, only: str | None) -> tuple[str, str]:
    """A file, relative to the home, and what is done to it."""
    tops = sorted(path for path in home.iterdir() if only in (None, path.name))
    while True:
        top = rng.choice(tops)
        files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        if not files:
            continue
        path, kind = rng.choice(files), rng.choice(KINDS)
        if path.stat().st_size or kind in ("delete", "append"):
            return str(path.relative_to(home)), kind


class Commands:
    """A process that runs commands one after the other, and another one after a command that ended it."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_commands, args=(theirs,))
        self._process.start()
        theirs.close()

    def run(self, words: list[str]) -> tuple[int, str]:
        """A command's status, less than 0 for a signal, and what it said."""
        self._pipe.send(words)
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            status = self._process.exitcode or -1
            self._start()
            return status, "ended by a signal"

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def _commands(pipe: Connection) -> None:
    import warnings

    from typer.testing import CliRunner

    from regmix_pipeline.cli import app

    warnings.simplefilter("ignore")
    while True:
        try:
            words = pipe.recv()
        except EOFError:
            return
        result = CliRunner().invoke(app, words)
        said = result.output
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            said += f"\nTraceback: {type(result.exception).__name__}: {result.exception}"
        pipe.send((result.exit_code, said))


def same(path: Path, was: Path) -> str:
    """Whether a file is what it was: as it was, harmless, or other."""
    if not path.is_file():
        return "other"
    if path.read_bytes() == was.read_bytes():
        return "as it was"
    try:
        if path.name == ".ledger.duckdb.json":  # the checksum of the ledger beside it, which may be another by now
            ledger = sha256_of(path.with_name("ledger.duckdb"))
            return "as it was" if ledger in json.loads(path.read_text())["sha256"] else "other"
        if path.suffix == ".json" and _without_times(json.loads(path.read_text())) == _without_times(
            json.loads(was.read_text())
        ):
            return "as it was"
        if path.suffix == ".duckdb" and _rows(path) == _rows(was):
            return "harmless"
    except (ValueError, KeyError, TypeError, duckdb.Error):
        pass
    return "other"


def _without_times(value: Any) -> Any:
    return {name: each for name, each in value.items() if name not in TIMES} if isinstance(value, dict) else value


def _rows(path: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()]
        return {
            name: sorted(map(repr, connection.sql(f'from "{name}"').fetchall()))
            for name in tables
            if name != "ledger_info"
        }


def outcome_of(
    commands: Commands, study: Path, finished: Path, home: Path, file: str, kind: str, rng: random.Random
) -> Outcome:
    """Damage a copy of the finished home, and run the commands on it."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(finished, home)
    damage(home / file, kind, rng)
    found = Outcome(file, kind)
    for words in COMMANDS:
        status, said = commands.run([*words, "--study", str(study), "--home", str(home)])
        found.said.append((status, said))
        if status < 0 or status == 70 or "Traceback" in said:
            last = [line for line in said.splitlines() if line.strip()][-1:]
            found.traceback = found.traceback or f"{words[0]}: {status} {' '.join(last)[:160]}"
    (_, stale), (first, _), (_, ran), (second, _) = found.said
    found.named = first != 0 or second != 0 or "everything is up to date" not in stale or "nothing to do" not in ran
    found.after = same(home / file, finished / file)
    return found


def show(outcomes: list[Outcome]) -> None:
    """A row for each folder of the home, and their sum."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for each in outcomes:
        for row in (each.file.split("/")[0], "all"):
            rows[row] += Counter(
                damages=1,
                tracebacks=bool(each.traceback),
                unnoticed=each.unnoticed,
                named=each.named,
                remade=each.after == "as it was",
                harmless=each.after == "harmless",
            )
    columns = ("damages", "tracebacks", "unnoticed", "named", "remade", "harmless")
    print(f"| {'file or folder':<20} | " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * len(columns))
    for name in sorted(rows, key=lambda name: (name == "all", name)):
        print(f"| {name:<20} | " + " | ".join(f"{rows[name][column]:>{len(column)}}" for column in columns) + " |")


def main() -> None:
    """Damage, run, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("count", type=int, nargs="?", default=300)
    parser.add_argument("--first", type=int, default=0, help="begin here, where an earlier call was interrupted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="a file or folder of the home, instead of all")
    parser.add_argument("--number", type=int, help="this damage alone, with all that was said of it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, commands = Path(place), Commands()
        study, finished = write_study(folder), folder / "finished"
        for words in (["run"], ["approve", "--reason", "a reason"], ["run"]):
            status, said = commands.run([*words, "--study", str(study), "--home", str(finished)])
            if status:
                raise SystemExit(said)
        outcomes: list[Outcome] = []
        try:
            for number in range(given.first, given.count) if given.number is None else [given.number]:
                rng = random.Random(f"{given.seed}/{number}")
                file, kind = draw(finished, rng, given.only)
                found = outcome_of(commands, study, finished, folder / "home", file, kind, rng)
                outcomes.append(found)
                print(f"{number}: {kind} {file}: {found}", flush=True)
                if given.number is not None:
                    for words, (status, said) in zip(COMMANDS, found.said, strict=True):
                        print(f"--- {words[0]}: {status}\n{said}")
        except KeyboardInterrupt:
            print("interrupted")
        commands.end()
        show(outcomes)


if __name__ == "__main__":
    main()
