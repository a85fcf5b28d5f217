"""The demo as a newcomer meets it: time and memory of the first run, of the second, and of a run after one change.

    python benchmarks/demo.py [STUDY] [--data FOLDER]

Each run ends with the share of its time that the stages' own work took; the rest is orchestration: starting Python and
Dagster runs, events, the ledger, checks. Works in a temporary home; corpora come from --data, so that downloads are not
timed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the study three times and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default=str(ROOT / "studies" / "demo.yaml"))
    parser.add_argument("--data", default=str(ROOT / ".regmix" / "data"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.yaml"
        shutil.copyfile(arguments.study, study)
        home = Path(folder) / "home"
        first = run(study, home, arguments.data)
        second = run(study, home, arguments.data)
        change_one_source(study)
        third = run(study, home, arguments.data)
        table = Table(title="The demo, three times")
        for heading in ("run", "wall", "peak memory of all processes"):
            table.add_column(heading, justify="left" if heading == "run" else "right")
        for name, (seconds, megabytes) in {"first": first, "again": second, "one source changed": third}.items():
            table.add_row(name, f"{seconds:.1f} s", f"{megabytes:.0f} MB")
        Console().print(table)


def run(study: Path, home: Path, data: str) -> tuple[float, float]:
    """Wall seconds and peak megabytes, all child processes together, of one `regmix run`."""
    command = [sys.executable, "-m", "regmix_pipeline.cli", "run", "--study", str(study), "--home", str(home)]
    started = time.monotonic()
    process = subprocess.Popen([*command, "--data", data])
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    if process.wait():
        raise SystemExit(process.returncode)
    watcher.join()
    return time.monotonic() - started, peak[0]


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_megabytes(pid) for pid in _family(process.pid)))
        time.sleep(0.5)


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(found for child in children for found in _family(int(child)))]


def _megabytes(pid: int) -> float:
    """Proportional set size: memory shared between processes counts once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def change_one_source(study: Path) -> None:
    """Let one domain hold less text."""
    settings = yaml.safe_load(study.read_text())
    settings["domains"]["books"]["source"]["max_bytes"] = 5_000_000
    study.write_text(yaml.safe_dump(settings, sort_keys=False))


if __name__ == "__main__":
    main()
