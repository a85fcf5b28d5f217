"""How time and memory grow with a study: domains, mixtures, targets, files in a watched folder, one long document.

    python benchmarks/growth.py [DIMENSION ...] [--full]

Each row is one step at rising sizes: seconds, the peak memory of its process by then, and the exponent of time between
the first size and the last (1 is linear, 2 quadratic). Nothing is trained: mixtures and targets come with tables of
made-up runs, so that the regression (one line), the search and the report are run at that size. ``--full`` takes the
largest sizes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SIZES = {
    "domains": (30, 100, 300),
    "mixtures": (500, 1500, 5000),
    "targets": (100, 300, 1000),
    "target texts": (100, 300, 1000),
    "files": (2_000, 20_000, 200_000),
    "document": (1, 10, 100),
}
MEGABYTE = 10**6
BLOCK = 100_000
"""Words written at once."""
WORTH_A_ROW = 0.5
"""Seconds at the last size below which a step is not shown."""
SMALL = {
    "shards": {"validation_fraction": 0.3},
    "proxies": {"preset": "demo"},
    "tokenizer": {"train": {"vocab_size": 512}},
}


def text_of(folder: Path, name: str, size: int, seed: int, documents: int = 40) -> None:
    """A file of made-up words, ``size`` bytes in all."""
    rng = np.random.Generator(np.random.PCG64(seed))
    words = np.array([f"w{number}" for number in range(2000)])
    with (folder / f"{name}.jsonl").open("w") as file:
        for _ in range(documents):
            file.write('{"text": "')
            # In blocks: what this process takes counts in the peak of the processes that it starts.
            for left in range(size // documents // 5, 0, -BLOCK):
                file.write(" ".join(words[rng.integers(0, len(words), min(left, BLOCK))]) + " ")
            file.write('"}\n')


def tables_of(folder: Path, runs: int, domains: int, targets: int) -> dict[str, Any]:
    """Tables of runs whose losses are lines of the weights, and the study about them."""
    rng = np.random.Generator(np.random.PCG64(0))
    weights = rng.dirichlet(np.ones(domains), size=runs)
    losses = 3 + weights @ rng.normal(0, 1, (domains, targets)) + rng.normal(0, 0.01, (runs, targets))
    for name, kind, values in (("mixtures", "d", weights), ("losses", "t", losses)):
        np.savetxt(
            folder / f"{name}.csv",
            np.column_stack([np.arange(runs), values]),
            fmt=["%d", *["%.8f"] * values.shape[1]],
            delimiter=",",
            header=",".join(["run", *(f"{kind}{number}" for number in range(values.shape[1]))]),
            comments="",
        )
    return {
        "domains": {f"d{number}": {"prior": 1 / domains} for number in range(domains)},
        "targets": {f"t{number}": {"weight": 1} for number in range(targets)},
        "imports": [{"mixtures": "mixtures.csv", "losses": "losses.csv"}],
        "mixtures": {"count": 0, "anchors": {"natural": False}},
        "regression": {"regressors": ["linear"], "extrapolation": "off", "bootstrap": 50, "step_laws": False},
    }


def domains(folder: Path, size: int) -> dict[str, Any]:
    """Domains with text, to the list of mixtures."""
    for number in range(size):
        text_of(folder, f"d{number}", 40_000, number)
    named = {f"d{number}": {"source": {"jsonl": f"d{number}.jsonl"}} for number in range(size)}
    return SMALL | {"domains": named, "targets": {"d0": {"weight": 1}}, "mixtures": {"count": 64}}


def mixtures(folder: Path, size: int) -> dict[str, Any]:
    """Runs of five domains, to the report."""
    return tables_of(folder, size, 5, 2)


def targets(folder: Path, size: int) -> dict[str, Any]:
    """Runs with many targets, to the report."""
    return tables_of(folder, 40, 5, size)


def target_texts(folder: Path, size: int) -> dict[str, Any]:
    """Targets with text of their own beside two domains, to the list of mixtures."""
    for number in range(2):
        text_of(folder, f"d{number}", 200_000, number)
    for number in range(size):
        text_of(folder, f"t{number}", 20_000, 2 + number)
    return SMALL | {
        "domains": {f"d{number}": {"source": {"jsonl": f"d{number}.jsonl"}} for number in range(2)},
        "targets": {f"t{number}": {"source": {"jsonl": f"t{number}.jsonl"}, "weight": 1} for number in range(size)},
        "mixtures": {"count": 16},
    }


def files(folder: Path, size: int) -> dict[str, Any]:
    """Two watched folders of small files, to what is observed of them."""
    for name in ("a", "b"):
        (folder / "text" / name).mkdir(parents=True)
        for number in range(size // 2):
            (folder / "text" / name / f"{number:06d}.jsonl").write_text(f'{{"text": "{name} {number} few words"}}\n')
    text_of(folder, "own", 100_000, 0)
    own = {name: {"source": {"jsonl": "own.jsonl", "max_documents": 20}} for name in ("own", "other")}
    watch = {"address": "text", "source": {"jsonl": "*.jsonl"}}
    settled = {"watch": watch, "refit": {"settle_seconds": 0}}
    return SMALL | settled | {"domains": own, "targets": {"own": {"weight": 1}}, "mixtures": {"count": 16}}


def document(folder: Path, size: int) -> dict[str, Any]:
    """One long document beside short ones, to its tokens."""
    text_of(folder, "d0", size * MEGABYTE, 0, documents=1)
    text_of(folder, "d1", 100_000, 1)
    text_of(folder, "d2", 100_000, 2)
    with (folder / "d0.jsonl").open("a") as file, (folder / "d1.jsonl").open() as short:
        file.writelines(line.replace("w1", "x1") for line in short)
    named = {f"d{number}": {"source": {"jsonl": f"d{number}.jsonl"}} for number in range(3)}
    return SMALL | {"domains": named, "targets": {"d1": {"weight": 1}}, "mixtures": {"count": 16}}


DIMENSIONS: dict[str, tuple[Callable[[Path, int], dict[str, Any]], str]] = {
    "domains": (domains, "mixtures"),
    "mixtures": (mixtures, "mixture_report"),
    "targets": (targets, "mixture_report"),
    "target texts": (target_texts, "mixtures"),
    "files": (files, "mixtures"),
    "document": (document, "mixtures"),
}
"""Name -> what makes a study of a size, and the last stage that is made of it."""


def make_stages(study: Path, last: str) -> None:
    """Make the stages up to one and the ledger; print the seconds of each, and the peak memory by its end in bytes."""
    from regmix_pipeline.engine.ledger import build_ledger
    from regmix_pipeline.engine.workspace import Workspace
    from regmix_pipeline.stages import STAGES

    workspace = Workspace(study, study.parent / "home", study.parent / "data", say=lambda line: None)
    found = {}
    for stage in STAGES[: [each.name for each in STAGES].index(last) + 1]:
        started = time.monotonic()
        for made in workspace.materialise(stage):
            if made.error is not None:
                raise made.error
        workspace.join()
        found[stage.name] = (time.monotonic() - started, _peak(resource.getrusage(resource.RUSAGE_SELF)))
    started = time.monotonic()
    build_ledger(workspace.records, workspace.path("tables"), workspace.path("ledger.duckdb"))
    found["ledger"] = (time.monotonic() - started, _peak(resource.getrusage(resource.RUSAGE_SELF)))
    json.dump(found, sys.stdout)


def _peak(used: Any) -> int:
    return int(used.ru_maxrss) * 1024


def run(command: list[str]) -> tuple[str, float, int]:
    """What a command prints, its seconds and its peak memory in bytes."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
    return printed, time.monotonic() - started, _peak(used)


def measured(study: Path, last: str) -> Iterator[tuple[str, tuple[float, int]]]:
    """Step -> seconds and peak memory: `plan` of the new study, its stages and ledger, `status` of what was made."""
    asked = [
        "--study",
        str(study),
        "--home",
        str(study.parent / "home"),
        "--data",
        str(study.parent / "data"),
        "--json",
    ]
    regmix = [sys.executable, "-m", "regmix_pipeline.cli"]
    yield "`regmix plan`", run([*regmix, "plan", *asked, "--teraflops", "1"])[1:]
    printed, *_ = run([sys.executable, __file__, "--of", str(study), "--make", last])
    yield from ((name, tuple(each)) for name, each in json.loads(printed).items())
    yield "`regmix status`", run([*regmix, "status", *asked])[1:]


def main() -> None:
    """Print a table for each dimension."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dimensions", nargs="*", metavar="DIMENSION", help=f"of {', '.join(SIZES)}; default all")
    parser.add_argument("--full", action="store_true", help="up to the largest sizes")
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make_stages(given.of, given.make)
        return
    for dimension in given.dimensions or SIZES:
        content, last = DIMENSIONS[dimension]
        sizes = SIZES[dimension] if given.full else SIZES[dimension][:-1]
        found: dict[str, list[tuple[float, int]]] = {}
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="regmix-growth-") as folder:
                study = Path(folder) / "study.yaml"
                study.write_text(yaml.safe_dump({"name": "growth"} | content(Path(folder), size), sort_keys=False))
                for step, each in measured(study, last):
                    found.setdefault(step, []).append(each)
                    print(f"{dimension} {size:,} {step}: {each[0]:.1f} s", file=sys.stderr, flush=True)
        print(f"| {dimension} | {' | '.join(f'{size:,}' for size in sizes)} | exponent of time |")
        print("| --- " * (len(sizes) + 2) + "|")
        for step, each in found.items():
            if each[-1][0] >= WORTH_A_ROW:
                cells = " | ".join(f"{seconds:.1f} s, {peak / MEGABYTE:,.0f} MB" for seconds, peak in each)
                exponent = math.log(each[-1][0] / max(each[0][0], 0.01)) / math.log(sizes[-1] / sizes[0])
                print(f"| {step} | {cells} | {exponent:.1f} |")
        print(flush=True)


if __name__ == "__main__":
    main()
