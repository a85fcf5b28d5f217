# ruff: noqa: TID253
"""What one GPU trains: proxies stacked, one process each, and by other libraries. At most 8 minutes, no network.

    python benchmarks/gpu.py --out gpu.json            # on a card of H100's class
    python benchmarks/gpu.py --small --out small.json  # the same phases on a CPU, on models of nothing

Phases, each with its own seconds; one that fails or finds no time left says so and lets the others go on:

    device      name, memory, torch, the rate of bfloat16 products
    tests       pytest -m cuda
    stacked     tokens/s and memory of the 1M preset (vocabulary 50,432, context 2,048), K proxies as one program
    processes   the same, one process a proxy; with NVIDIA's MPS where it starts
    products    a layer's widest product for K proxies, batched and grouped
    heads       the head and its loss alone: chunks of several sizes, torch's own, Liger's where it is installed
    peers       transformers and litgpt where they are installed, in the passes that are fastest for them
    demo        64 proxies of the demo's preset end to end, and 16 mixtures ranked by bfloat16 here and float32 on a CPU

The JSON holds what was measured and what follows: share of the peak, proxies an hour, H100 hours of 512 x 1M x 1B.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_rates import heads, one_process, peers, processes, products, stacked
from gpu_setting import TOKENS, Setting, seconds_of
from proxy_throughput import token_file
from scipy.stats import spearmanr

from regmix_pipeline.proxies.spec import ProxySpec, TargetFile
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

PEAKS = {"H100": 989.0, "H200": 989.0, "GH200": 989.0, "A100": 312.0, "L4": 121.0}
"""Part of a card's name -> TFLOP/s of dense bfloat16, by the data sheet (of the SXM card)."""
BUDGET = 470.0


def main() -> None:
    """Run the phases, and write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.small and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device; --small runs the same phases on a CPU")
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    until = time.monotonic() + BUDGET
    if arguments.one:
        one_process(Setting(arguments.small, arguments.one, until))
        return
    found: dict[str, Any] = {"small": arguments.small}
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(arguments.small, Path(folder), until)
        for name in arguments.phases:
            started = time.monotonic()
            try:
                found[name] = PHASES[name](setting, found) if setting.left > 20 else {"skipped": "no time left"}
            except Exception as error:
                traceback.print_exception(error)
                found[name] = {"failed": f"{type(error).__name__}: {error}"}
            if not arguments.small:
                torch.cuda.empty_cache()
            found[name]["seconds"] = round(time.monotonic() - started, 1)
            found["follows"] = follows(setting, found)
            arguments.out.write_text(json.dumps(found, indent=2) + "\n")
            print(name, json.dumps(found[name]), flush=True)
    print(json.dumps(found["follows"], indent=2))


def device(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """What runs this, and how fast its products are."""
    kind, size = (torch.float32, 512) if setting.small else (torch.bfloat16, 8192)
    left, right = (torch.randn(size, size, device=setting.device, dtype=kind) for _ in range(2))
    each = seconds_of(lambda: torch.mm(left, right), setting, setting.seconds / 6)
    name = "cpu" if setting.small else torch.cuda.get_device_name()
    return {
        "name": name,
        "memory_gb": None if setting.small else torch.cuda.get_device_properties(0).total_memory / 1e9,
        "torch": torch.__version__,
        "products_teraflops": 2 * size**3 / each / 1e12,
        "peak_teraflops": next((peak for part, peak in PEAKS.items() if part in name), None),
    }


def tests(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """The tests marked cuda; without a card they are skipped."""
    place = Path(__file__).parents[1] / "tests/regmix_pipeline/proxies/stack/test_cuda.py"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "cuda", "-rA", "--tb=short", str(place)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=min(150.0, setting.left), cwd=place.parents[4]
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR", "SKIPPED"))]
    return {"code": done.returncode, "said": lines, "end": "" if not done.returncode else done.stdout[-2000:]}


def demo(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """64 proxies of the demo's preset as a study trains them, and the ranks of 16 mixtures here and on a CPU."""
    number, kind = (4, "cpu") if setting.small else (64, "cuda")
    training = TrainingSettings.preset("demo", **({"tokens": 8192, "warmup_steps": 2} if setting.small else {}))
    vocabulary = 512 if setting.small else 4096
    files = {
        name: token_file(setting.folder / f"demo-{name}.ds", vocabulary, 200_000, spread)
        for name, spread in (("web", 1.0), ("books", 1.3))
    }
    specs = [
        ProxySpec(
            mixture={"web": 990_000 - part, "books": 10_000 + part},
            model=ModelSettings.preset("demo"),
            vocabulary=vocabulary,
            training=training,
            seed=1,
            shards=files,
            targets={name: TargetFile(**file.model_dump(), bytes=4 * file.tokens) for name, file in files.items()},
            folder=setting.folder / "demo",
            device=kind,
        )
        for part in range(0, 980_000, 980_000 // number)
    ][:number]
    started = time.monotonic()
    results = list(LocalExecutor(1, stack=number).run(specs))
    wall = time.monotonic() - started
    ranked = specs[:: max(1, number // 16)]
    on_cpu = [spec.model_copy(update={"device": "cpu", "folder": setting.folder / "cpu"}) for spec in ranked]
    there = list(LocalExecutor(len(os.sched_getaffinity(0))).run(on_cpu))
    if failed := [result for result in (*results, *there) if result.error]:
        raise SystemExit(str(failed[0].error))
    return {
        "proxies": number,
        "wall_seconds": wall,
        "step_seconds": sum(result.value["seconds"]["steps"] for result in results),
        "spearman": {
            target: rank_correlation([final(spec, target) for spec in ranked], [final(spec, target) for spec in on_cpu])
            for target in files
        },
    }


def rank_correlation(one: list[float], other: list[float]) -> float:
    """Spearman's."""
    found: Any = spearmanr(one, other)
    return float(found.statistic)


def final(spec: ProxySpec, target: str) -> float:
    """The last loss of a proxy's trajectory."""
    import pyarrow.parquet as pq

    rows = [row for row in pq.read_table(spec.output / "trajectory.parquet").to_pylist() if row["target"] == target]
    return max(rows, key=lambda row: row["step"])["loss"]


def follows(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Ratios and hours from what was measured so far."""
    rates = {size: each["tokens_per_second"] for size, each in found.get("stacked", {}).get("k", {}).items()}
    if not rates:
        return {}
    best = max(rates.values())
    said: dict[str, Any] = {
        "hours_of_512_proxies": 512 * TOKENS / best / 3600,
        "proxies_per_hour": {size: 3600 * rate / TOKENS for size, rate in rates.items()},
    }
    peak = found.get("device", {}).get("peak_teraflops")
    if peak:
        said["share_of_peak"] = {size: rate * setting.flops / peak / 1e12 for size, rate in rates.items()}
    alone = found.get("processes", {}).get("plain", {}).get("1")
    if isinstance(alone, float):
        said["largest_stack_by_one_process"] = list(rates.values())[-1] / alone
    others = found.get("peers", {})
    for name in ("transformers", "litgpt"):
        known = (
            [rate for rate in dict(others.get(name) or {}).values() if isinstance(rate, float)]
            if isinstance(others.get(name), dict)
            else []
        )
        if known:
            said[f"best_stack_by_{name}"] = best / max(known)
    return said


PHASES: dict[str, Callable[[Setting, dict[str, Any]], dict[str, Any]]] = {
    "device": device,
    "tests": tests,
    "stacked": stacked,
    "processes": processes,
    "products": products,
    "heads": heads,
    "peers": peers,
    "demo": demo,
}

if __name__ == "__main__":
    main()
