"""How near plans come: small studies planned on this machine, then really run, stage beside stage.

    python benchmarks/plan.py [NAME ...] [--workers N] [--data FOLDER] [--keep FOLDER]

Each study is planned in an empty home, where every figure comes from a trial or a stated rate; then run by a process of
its own through Dagster, as `regmix run` does; then planned again with what the run recorded. The demo's corpora are its
text, fetched once. Wants a quiet machine: what else takes the cores between trial and run is an error of neither.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.planning.plan import StudyPlan, plan_study
from regmix_pipeline.planning.show import duration
from regmix_pipeline.planning.stage_plans import TRAINING

ROOT = Path(__file__).parents[1]
DEMO = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())
LARGE = {"preset": "demo-large", "training": {"tokens": 147_456}, "seeds": 1}


def _study(
    name: str, domains: list[str], count: int, proxies: dict[str, Any], vocabulary: int, confirmation: Any
) -> dict[str, Any]:
    """The demo with fewer domains and mixtures and other models."""
    return DEMO | {
        "name": name,
        "domains": {domain: DEMO["domains"][domain] for domain in domains},
        "targets": {"encyclopedia": DEMO["targets"]["encyclopedia"], **{domain: {"weight": 0} for domain in domains}},
        "tokenizer": {"train": {"vocab_size": vocabulary, "bytes_per_domain": 500_000}},
        "mixtures": DEMO["mixtures"] | {"count": count},
        "proxies": {"preset": "demo", "noise": {"mixtures": 2, "seeds": 2}, **proxies},
        "confirmation": confirmation,
    }


STUDIES = {
    "demo": _study("plan_demo", list(DEMO["domains"]), 16, {}, 4096, LARGE),
    "wide": _study(
        "plan_wide",
        ["pubmed", "legal", "books", "code_python"],
        12,
        {
            "model": {"width": 96, "heads": 3, "ffn_width": 256, "context": 256},
            "training": {"tokens": 262_144, "windows_per_step": 8},
            "evaluation": {"windows": 32},
        },
        8192,
        None,
    ),
    "vocabulary": _study(
        "plan_vocabulary",
        ["pubmed", "legal", "ontology", "parliament_multilingual", "books"],
        10,
        {
            "model": {"width": 48, "heads": 2, "ffn_width": 128, "context": 128, "layers": 3},
            "training": {"tokens": 131_072, "windows_per_step": 8},
        },
        16_384,
        LARGE | {"model": {"context": 128}},
    ),
}


def run(study: Path, home: Path, data: Path, workers: int | None) -> dict[str, float]:
    """Stage -> seconds of a real run in a process of its own; ``beginning`` is what the process takes besides."""
    command = [sys.executable, __file__, "--run", str(study), str(home), str(data), str(workers or 0)]
    started, busy, own = time.monotonic(), _busy(), _own()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall = time.monotonic() - started
    stages = json.loads(printed.splitlines()[-1])
    other = max(_busy() - busy - (_own() - own), 0.0) / (wall * (os.cpu_count() or 1))
    return stages | {"beginning": wall - sum(stages.values()), "other": other}


def _busy() -> float:
    """Seconds that the machine's cores have worked, whoever for."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds of them that this process's children have had."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run_here(study: str, home: str, data: str, workers: str) -> None:
    from regmix_pipeline.assets.runner import run_stale

    workspace = Workspace(study, home, data, workers=int(workers) or None, say=lambda line: None)
    print(json.dumps({stage.stage: stage.seconds for stage in run_stale(workspace)}))


def compare(name: str, plan: StudyPlan, real: dict[str, float], console: Console) -> None:
    """One table: predicted, real, and their ratio."""
    first = plan.stages[0].stage
    real = real | {first: real[first] + real["beginning"]}
    table = Table(title=f"{name}, {plan.machine}", title_justify="left")
    for heading in ("stage", "predicted s", "real s", "predicted / real"):
        table.add_column(heading, justify="right" if table.columns else "left")
    for stage in plan.stages:
        _row(table, stage.stage, stage.seconds, real[stage.stage])
    table.add_section()
    _row(table, "training", plan.training_seconds, sum(real.get(stage, 0.0) for stage in TRAINING))
    _row(table, "total", plan.seconds, sum(real[stage.stage] for stage in plan.stages))
    console.print(table)
    console.print(f"other work took {real['other']:.0%} of the cores during the run")
    for warning in plan.warnings:
        console.print(f"warning: {warning}", markup=False)


def _row(table: Table, name: str, predicted: float, real: float) -> None:
    table.add_row(name, f"{predicted:.1f}", f"{real:.1f}", f"{predicted / real:.2f}" if real > 0 else "")


def main() -> None:
    """Plan, run and compare each of the studies named."""
    if sys.argv[1:2] == ["--run"]:
        _run_here(*sys.argv[2:6])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*STUDIES, []], help=f"default: {', '.join(STUDIES)}")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--data", type=Path, default=ROOT / ".regmix" / "data")
    parser.add_argument("--keep", type=Path, help="keep studies and homes in this folder")
    chosen = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        for name in chosen.names or STUDIES:
            file, home = folder / f"{name}.yaml", folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump(STUDIES[name], sort_keys=False))
            from regmix_pipeline.documents.corpora import ensure_all

            workspace = Workspace(file, home, chosen.data, workers=chosen.workers)
            corpora = [source.corpus for _, source in workspace.study.sources.values() if source.corpus]
            ensure_all(corpora, chosen.data, workspace.say)
            started = time.monotonic()
            plan = plan_study(workspace.study, base=workspace.base, workspace=workspace)
            console.print(f"planned in {duration(time.monotonic() - started)}")
            real = run(file, home, chosen.data, chosen.workers)
            compare(f"{name}: from trials", plan, real, console)
            again = Workspace(file, home, chosen.data, workers=chosen.workers)
            compare(f"{name}: from records", plan_study(again.study, base=again.base, workspace=again), real, console)


if __name__ == "__main__":
    main()
