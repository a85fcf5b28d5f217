# ruff: noqa: TID253
"""What one GPU trains: proxies stacked, one process each, and by other libraries. At most 8 minutes, no network.

    python benchmarks/gpu.py --out gpu.json            # on a card of H100's class
    python benchmarks/gpu.py --small --out small.json  # the same phases on a CPU, on models of nothing

Phases, each with its own seconds; one that fails or finds no time left says so and lets the others go on:

    device      name, memory, torch, the rate of bfloat16 products
    tests       pytest -m cuda
    stacked     tokens/s and memory of the 1M preset (vocabulary 50,432, context 2,048), K proxies as one program
    processes   the same, one process a proxy; with NVIDIA's MPS where it starts
    heads       the head and its loss alone: chunks of several sizes, torch's own, Liger's where it is installed
    peers       transformers and litgpt where they are installed, in the passes that are fastest for them
    demo        64 proxies of the demo's preset end to end, and 16 mixtures ranked by bfloat16 here and float32 on a CPU

The JSON holds what was measured and what follows: share of the peak, proxies an hour, H100 hours of 512 x 1M x 1B.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from peers import LitGPT, Transformers
from proxy_throughput import token_file
from scipy.stats import spearmanr
from torch.nn import functional

from regmix_pipeline.proxies import loss
from regmix_pipeline.proxies.device import autocast
from regmix_pipeline.proxies.spec import ProxySpec, TargetFile
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

PEAKS = {"H100": 989.0, "H200": 989.0, "GH200": 989.0, "A100": 312.0, "L4": 121.0}
"""Part of a card's name -> TFLOP/s of dense bfloat16, by the data sheet (of the SXM card)."""
WINDOWS = 512
"""Of a step of the paper's proxies."""
TOKENS = 1_048_576_000
"""Of such a proxy."""
BUDGET = 470.0


class Setting:
    """What is measured: the paper's proxies on CUDA, or models of nothing on a CPU.

    Attributes:
        small: which of the two.
        folder: of token files and proxies.
        until: when the time is spent, `time.monotonic`.
    """

    def __init__(self, small: bool, folder: Path, until: float) -> None:
        self.small, self.folder, self.until = small, folder, until
        self.device = torch.device("cpu" if small else "cuda")
        shape = {"context": 64, "width": 32, "heads": 2, "ffn_width": 64} if small else {}
        self.model = ModelSettings.preset("regmix-1m", **shape)
        self.vocabulary = 512 if small else 50_432
        self.sizes = (1, 4) if small else (1, 4, 16, 64)
        self.seconds = 0.5 if small else 6.0
        self.flops = self.model.training_flops_per_token(self.vocabulary)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def spec(self, seed: int, windows: int, steps: int = 1000) -> ProxySpec:
        """A proxy with steps of so many windows, on random tokens as frequent as words are."""
        files = {
            name: token_file(self.folder / f"{name}.ds", self.vocabulary, 40_000 if self.small else 8_000_000)
            for name in ("web", "books")
        }
        training = TrainingSettings(
            tokens=steps * windows * self.model.context, windows_per_step=windows, warmup_steps=2
        )
        return ProxySpec(
            mixture={"web": 700_000, "books": 300_000},
            model=self.model,
            vocabulary=self.vocabulary,
            training=training,
            seed=seed,
            shards=files,
            folder=self.folder / "proxies",
            device="cpu" if self.small else "cuda",
        )

    def per_pass(self, stack: int = 1) -> int:
        """Windows of a proxy that go through the model at once."""
        share = 1 if self.small else stack
        return max(1, self.model.tokens_per_pass(self.device.type) // share // self.model.context)


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


def stacked(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of K proxies as one program, in whole steps of the paper's size."""
    rates = {}
    for size in setting.sizes:
        with contextlib.suppress(torch.OutOfMemoryError):
            rates[str(size)] = of_stack(setting, size)
    return {"k": rates}


def of_stack(setting: Setting, size: int) -> dict[str, Any]:
    """A pass and an update of a stack, and what a whole step takes."""
    reset_peak(setting)
    windows = setting.per_pass(size)
    stack = Stack([TrainingLoop(setting.spec(seed, windows), setting.device) for seed in range(size)])
    rows = [trainer.next_rows() for trainer in stack.trainers]
    a_pass = seconds_of(lambda: stack.gradients(rows), setting)
    update = seconds_of(lambda: [trainer.optimiser.step(1e-4) for trainer in stack.trainers], setting, 1.0)
    step = WINDOWS / windows * a_pass + update
    return {
        "windows_per_pass": windows,
        "pass_seconds": a_pass,
        "update_seconds": update,
        "tokens_per_second": size * WINDOWS * setting.model.context / step,
        "peak_gb": peak_gb(setting),
    }


def processes(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of one process a proxy, all of them together."""
    numbers = (1, 2) if setting.small else (1, 4, 16)
    rates: dict[str, Any] = {"plain": {str(number): of_processes(setting, number, {}) for number in numbers}}
    with mps(setting) as environment:
        if environment is None:
            rates["mps"] = "does not start"
        else:
            rates["mps"] = {str(number): of_processes(setting, number, environment) for number in numbers[1:]}
    return rates


def of_processes(setting: Setting, number: int, environment: dict[str, str]) -> float | str:
    """All begin to measure once all are ready."""
    setting.spec(0, 1)  # writes the token files
    command = [sys.executable, __file__, "--one", str(setting.folder), *(["--small"] if setting.small else [])]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "text": True,
        "env": os.environ | environment,
    }
    children: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(number)]
    try:
        for child in children:
            if child.stdout.readline() != "ready\n":
                return "a process died before it was ready: its message is above"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        return sum(float(child.stdout.readline() or "nan") for child in children)
    finally:
        for child in children:
            child.kill()
            child.wait()


def one_process(setting: Setting) -> None:
    """A proxy by itself: ready, then for some seconds its rate, on standard output."""
    windows = setting.per_pass()
    loop = TrainingLoop(setting.spec(1, windows), setting.device)
    loop.step()
    loop.step()
    print("ready", flush=True)
    sys.stdin.readline()
    each = seconds_of(loop.step, setting, warm=False)
    print(windows * setting.model.context / each, flush=True)


@contextlib.contextmanager
def mps(setting: Setting) -> Iterator[dict[str, str] | None]:
    """The environment of processes that share the device through NVIDIA's MPS, or None where it does not start."""
    control = shutil.which("nvidia-cuda-mps-control")
    if setting.small or control is None:
        yield None
        return
    places = {"CUDA_MPS_PIPE_DIRECTORY": str(setting.folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(setting.folder)}
    Path(places["CUDA_MPS_PIPE_DIRECTORY"]).mkdir()
    environment = os.environ | places
    started = subprocess.run([control, "-d"], env=environment, capture_output=True, timeout=30)
    try:
        yield places if started.returncode == 0 else None
    finally:
        subprocess.run([control], input=b"quit\n", env=environment, capture_output=True, timeout=30)


def heads(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of the head's three products and its loss, by how they are cut and who computes them."""
    rows, width = setting.per_pass() * setting.model.context, setting.model.width
    kind = torch.float32 if setting.small else torch.bfloat16
    hidden = torch.randn(rows, width, device=setting.device, dtype=kind, requires_grad=True)
    head = torch.randn(setting.vocabulary, width, device=setting.device, requires_grad=True)
    head.grad = torch.zeros_like(head)
    labels = torch.randint(setting.vocabulary, (rows,), device=setting.device)

    def ours(chunk: int) -> Callable[[], None]:
        def work() -> None:
            with autocast(setting.device):
                made = loss.linear_cross_entropy(hidden, head.detach(), labels, gradient=head.grad, rows=chunk)
            made.backward()

        return work

    def torchs() -> None:
        with autocast(setting.device):
            made = functional.linear_cross_entropy(hidden, head.to(kind), labels)
        made.backward()

    default = loss.chunk_rows(setting.vocabulary)
    works: dict[str, Callable[[], None]] = {f"ours, {rows} rows": ours(rows) for rows in chunks_of(default)}
    works["torch"] = torchs
    with contextlib.suppress(ImportError):
        from liger_kernel.transformers import (  # pyright: ignore[reportMissingImports]
            LigerFusedLinearCrossEntropyLoss,
        )

        liger = LigerFusedLinearCrossEntropyLoss()
        works["liger"] = lambda: liger(head.to(kind), hidden, labels).backward()
    rates: dict[str, Any] = {"default_rows": default}
    for name, work in works.items():
        try:
            rates[name] = rows / seconds_of(work, setting, setting.seconds / 6)
        except Exception as error:
            rates[name] = f"{type(error).__name__}: {error}"[:300]
    return rates


def chunks_of(default: int) -> list[int]:
    """Rows of a chunk: what is the default, and a quarter, a sixteenth, four times of it."""
    return sorted({max(16, default * up // down) for up, down in ((1, 16), (1, 4), (1, 1), (4, 1))})


def peers(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of other libraries, compiled, in bfloat16, with fused AdamW, by tokens a pass."""
    windows = setting.per_pass()
    loop = TrainingLoop(setting.spec(1, windows), setting.device)
    rates: dict[str, Any] = {}
    for name, peer in (("transformers", Transformers), ("litgpt", LitGPT)):
        rates[name] = {}
        for share in (1, 4, 16) if not setting.small else (1,):
            per_pass = max(1, windows // share) * setting.model.context
            try:
                each = seconds_of(peer(loop, per_pass).step, setting, setting.seconds / 2)
            except ImportError:
                rates[name] = "not installed"
                break
            except Exception as error:  # one that does not fit is no reason to stop
                rates[name][str(per_pass)] = f"{type(error).__name__}: {error}"[:300]
            else:
                rates[name][str(per_pass)] = windows * setting.model.context / each
    return rates


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


def seconds_of(work: Callable[[], object], setting: Setting, seconds: float | None = None, warm: bool = True) -> float:
    """Seconds of one call: the median of groups over some seconds, after two that compile and allocate."""
    for _ in range(2 if warm else 0):
        work()
    spent, until = [], time.monotonic() + (setting.seconds if seconds is None else seconds)
    for number in itertools.count():
        synchronise(setting)
        started = time.perf_counter()
        work()
        synchronise(setting)
        spent.append(time.perf_counter() - started)
        if number >= 2 and time.monotonic() > until:
            return statistics.median(spent)
    raise AssertionError


def synchronise(setting: Setting) -> None:
    """Wait for the device."""
    if not setting.small:
        torch.cuda.synchronize()


def reset_peak(setting: Setting) -> None:
    """Begin to measure memory anew."""
    if not setting.small:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(setting: Setting) -> float | None:
    """Most that the device held since; None on a CPU."""
    return None if setting.small else torch.cuda.max_memory_allocated() / 1e9


PHASES: dict[str, Callable[[Setting, dict[str, Any]], dict[str, Any]]] = {
    "device": device,
    "tests": tests,
    "stacked": stacked,
    "processes": processes,
    "heads": heads,
    "peers": peers,
    "demo": demo,
}

if __name__ == "__main__":
    main()
