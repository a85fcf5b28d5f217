# ruff: noqa: TID253
"""Phases of `gpu.py` that measure tokens a second: stacks, processes, the head alone, other libraries."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_setting import WINDOWS, Setting, peak_gb, reset_peak, seconds_of
from peers import LitGPT, Transformers
from torch.nn import functional

from regmix_pipeline.proxies import loss
from regmix_pipeline.proxies.device import autocast
from regmix_pipeline.proxies.stack.graphs import StepGraphs, record
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.training_loop import TrainingLoop


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
    half = setting.seconds / 2
    stack = Stack([TrainingLoop(setting.spec(seed, windows), setting.device) for seed in range(size)])
    rows = [trainer.next_rows() for trainer in stack.trainers]
    parts = stack.passes(rows)
    a_pass = seconds_of(lambda: stack.gradients(parts), setting, half)
    update = seconds_of(lambda: [trainer.optimiser.step(1e-4) for trainer in stack.trainers], setting, 1.0)
    found = {"windows_per_pass": windows, "pass_seconds": a_pass, "update_seconds": update}
    tokens = size * WINDOWS * setting.model.context
    rates = {"kernel by kernel": tokens / (WINDOWS / windows * a_pass + update)}
    try:
        # On a CPU there is nothing to record: the same work is done each time.
        graphs = StepGraphs(stack, parts, (lambda work: work) if setting.small else record)
    except RuntimeError as error:
        found["graphs"] = str(error)[:300]
    else:
        found["graph_pass_seconds"] = seconds_of(graphs.run_pass, setting, half)
        found["graph_update_seconds"] = seconds_of(graphs.run_update, setting, 1.0)
        rates["graphs"] = tokens / (WINDOWS / windows * found["graph_pass_seconds"] + found["graph_update_seconds"])
    return found | {"rates": rates, "tokens_per_second": max(rates.values()), "peak_gb": peak_gb(setting)}


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
    script = str(Path(__file__).with_name("gpu.py"))
    command = [sys.executable, script, "--one", str(setting.folder), *(["--small"] if setting.small else [])]
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


def products(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of the widest product of a layer for K proxies, forward and back: batched, and as a grouped one."""
    kind = torch.float32 if setting.small else torch.bfloat16
    width, inner = setting.model.width, 2 * setting.model.ffn_width
    rates: dict[str, Any] = {}
    for size in setting.sizes:
        rows = setting.per_pass(size) * setting.model.context
        x = torch.randn(size, rows, width, device=setting.device, dtype=kind, requires_grad=True)
        weight = torch.randn(size, inner, width, device=setting.device, dtype=kind, requires_grad=True)
        gradient = torch.randn(size, rows, inner, device=setting.device, dtype=kind)
        rates[str(size)] = {
            name: 1e3 * seconds_of(partial(there_and_back, product, x, weight, gradient), setting, 0.3)
            for name, product in (("batched", torch.bmm), ("grouped", functional.grouped_mm))
        }
    return {"k": rates}


def there_and_back(product: Any, x: Any, weight: Any, gradient: Any) -> None:
    """A product of each of K proxies' rows with its weights, and both gradients."""
    torch.autograd.grad(product(x, weight.mT), [x, weight], gradient)


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
