"""What orchestration costs: proxies that do nothing, through Dagster, records and the ledger.

    python benchmarks/orchestration.py [COUNT ...]            # default 100 1000 10000

Every proxy and every evaluation is put where a worker would have left it before the run looks, so what is timed is all
the rest: staleness, Dagster's runs and events, records, tables, checks, the ledger. Wall time and CPU time per proxy,
of both stages; then the same again when everything is up to date.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import sha256_of_bytes, write_json
from regmix_pipeline.mixtures.stage import MIXTURES, current_mixtures
from regmix_pipeline.proxies.current import current_specs
from regmix_pipeline.proxies.evaluations import write_evaluation
from regmix_pipeline.proxies.integrity import trajectory_schema
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.proxies.tasks import evaluation_specs, target_files
from regmix_pipeline.stages import up_to

DOMAINS = ("web", "code", "books", "papers", "talk")
MODEL = {"context": 32, "layers": 1, "width": 16, "heads": 2, "ffn_width": 16}


def study(folder: Path, count: int) -> Workspace:
    """A study of five domains of made-up words, with ``count`` mixtures."""
    rng = np.random.Generator(np.random.PCG64(0))
    for name in DOMAINS:
        lines = [json.dumps({"text": " ".join(map(str, rng.integers(0, 999, 400)))}) for _ in range(200)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    settings: dict[str, Any] = {
        "name": "orchestration",
        "domains": {name: {"source": {"jsonl": f"{name}.jsonl"}} for name in DOMAINS},
        "targets": {"web": {}, "code": {}},
        "tokenizer": {"train": {"vocab_size": 512}},
        "mixtures": {"count": count, "rounds": {"number": 1}, "anchors": {"natural": False, "uniform": False}},
        "proxies": {
            "preset": "demo",
            "model": MODEL,
            "training": {"tokens": 16_384, "windows_per_step": 16},
            "noise": {"mixtures": 0},
        },
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return Workspace(file, folder / "home", say=lambda line: None)


def leave_results(workspace: Workspace) -> int:
    """Write every proxy and evaluation as a worker would; returns how many proxies."""
    specs = [spec for group in current_specs(workspace, current_mixtures(workspace)).values() for spec in group]
    empty = pa.Table.from_pylist([], schema=trajectory_schema())
    for spec in specs:
        _leave_proxy(spec, empty)
    for number, task in enumerate(
        evaluation_specs(workspace, specs, target_files(workspace), workspace.study.proxies.evaluation)
    ):
        loss = 5.0 + number % 97 / 97
        measured = {"loss": loss, "standard_error": 0.01, "bits_per_byte": 1.0, "bits_per_byte_standard_error": 0.01}
        names = {"id": task.id, "proxy": task.proxy.name, "target": task.target, "target_version": task.tokens.version}
        write_evaluation(task.output, names | measured | {"evaluated_tokens": 1000})
    return len(specs)


def _leave_proxy(spec: ProxySpec, trajectory: pa.Table) -> None:
    spec.output.mkdir(parents=True)
    windows = spec.training.tokens // spec.model.context
    exact = np.array([part / 1e6 * windows for _, part in spec.exact_mixture.parts])
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact)[: windows - whole.sum()]] += 1
    drawn = {
        domain: {"windows": int(n), "tokens": int(n) * spec.model.context, "epochs": 0.1}
        for (domain, _), n in zip(spec.exact_mixture.parts, whole, strict=True)
    }
    value = {
        "id": spec.id,
        "mixture": spec.exact_mixture.id,
        "seed": spec.seed,
        "spec": spec.model_dump(mode="json"),
        "steps": 32,
        "tokens": sum(use["tokens"] for use in drawn.values()),
        "domains": drawn,
        "parameters": 1000,
        "training_loss": 5.0,
        "seconds": {"total": 0.0},
        "tokens_per_second": 1.0,
        "sha256": sha256_of_bytes(b""),
    }
    (spec.output / "model.safetensors").write_bytes(b"")
    pq.write_table(trajectory, spec.output / "trajectory.parquet")
    write_json(spec.output / "proxy.json", value)


def _timed(workspace: Workspace, stages: Sequence[Any]) -> tuple[float, float]:
    wall, cpu = time.monotonic(), time.process_time()
    run_stale(workspace, stages)
    return time.monotonic() - wall, time.process_time() - cpu


def measured(folder: Path, count: int) -> dict[str, Any]:
    """A first run and an up-to-date one over ``count`` proxies, in seconds (wall, CPU), and the ledger after them."""
    import duckdb

    workspace = study(folder, count)
    run_stale(workspace, up_to(MIXTURES))
    found: dict[str, Any] = {"proxies": leave_results(workspace)}
    for when in ("first", "again"):
        fresh = Workspace(workspace.study_file, workspace.home, say=lambda line: None)
        found[when] = _timed(fresh, [PROXY_CHECKPOINTS, PROXY_LOSSES])
    with duckdb.connect(str(workspace.ledger), read_only=True) as connection:
        found["rows"] = connection.execute("select sum(estimated_size) from duckdb_tables()").fetchall()[0][0]
    found["megabytes"] = workspace.ledger.stat().st_size / 1e6
    return found


def main() -> None:
    """One line a count."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("counts", nargs="*", type=int, default=[100, 1000, 10_000])
    asked = arguments.parse_args()
    print("milliseconds a proxy, checkpoints and losses together; wall (CPU)\n")
    print("| proxies | first run | up to date | rows in the ledger | ledger |")
    print("|---:|---:|---:|---:|---:|")
    # Nothing is deleted before all is measured: ext4 without a journal passes over files that were deleted in the last
    # minutes one by one, and making a file takes twenty times as long.
    with tempfile.TemporaryDirectory() as temporary:
        for number, count in enumerate(asked.counts):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            found = measured(folder, count)
            first, again = (_per_proxy(found[when], found["proxies"]) for when in ("first", "again"))
            end = f"{found['rows']:,} | {found['megabytes']:.1f} MB |"
            print(f"| {found['proxies']:,} | {first} | {again} | {end}", flush=True)


def _per_proxy(seconds: tuple[float, float], proxies: int) -> str:
    wall, cpu = (1000 * each / proxies for each in seconds)
    return f"{wall:.1f} ({cpu:.1f})"


if __name__ == "__main__":
    main()
