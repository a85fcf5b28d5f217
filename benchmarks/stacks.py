# ruff: noqa: TID253
"""Proxies that train as one program beside each alone, on a CPU: the demo's preset, and what vmap would give.

    python benchmarks/stacks.py [--rounds N] [--shape demo|1m-8k]       # time of a step and proxy, losses compared
    python benchmarks/stacks.py --demo                                  # 64 proxies end to end, as a study trains them

One thread and a worker's environment. Every round takes steps of each contender in turn on the same windows; times are
the process's CPU seconds, and ratios are medians over rounds. `vmap` is what torch.func offers: one functional call of
the model over stacked parameters, with plain cross-entropy, and the same clipping and AdamW.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from proxy_throughput import SHAPES, spec_of
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from regmix_pipeline.processes import WORKER_SETTINGS
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.study.settings.proxies import TrainingSettings

CPU = torch.device("cpu")
SIZES = (1, 4, 8, 16)


class VmapStack(Stack):
    """The same steps with gradients by torch.func: vmap over proxies of the gradient of one proxy's loss."""

    def gradients(self, parts: Sequence[Tensor]) -> Tensor:
        """See `Stack.gradients`."""
        windows = torch.cat([*parts], dim=1)
        table = self.trainers[0].model.get_buffer("table")

        def loss(parameters: dict[str, Tensor], tokens: Tensor) -> Tensor:
            hidden = plain_hidden(parameters, table, self.model, tokens[:, :-1])
            return functional.cross_entropy(hidden @ parameters["head"].t(), tokens[:, 1:].reshape(-1))

        parameters = {name: value.detach() for name, value in self.parameters.items()}
        found, losses = torch.func.vmap(torch.func.grad_and_value(loss))(parameters, windows)
        for name, gradient in found.items():
            self.gradients_of[name].add_(gradient)
        return losses.detach()


def plain_hidden(parameters: dict[str, Tensor], table: Tensor, settings, tokens: Tensor) -> Tensor:
    """One proxy's hidden states by operations that vmap knows."""
    windows, length = tokens.shape
    x = functional.embedding(tokens.reshape(-1), parameters["embedding.weight"])

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], parameters[name], settings.norm_eps)

    for layer in range(settings.layers):
        block = f"blocks.{layer}."
        heads = norm(x, block + "attention_norm.weight") @ parameters[block + "query_key_value.weight"].t()
        heads = heads.view(windows, length, 3 * settings.heads, -1)
        query, key, value = (
            part.transpose(1, 2)
            for part in (
                *rotated_plainly(heads[:, :, : 2 * settings.heads], table[:length]).chunk(2, 2),
                heads[:, :, 2 * settings.heads :],
            )
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
        x = x + mixed.reshape(x.shape) @ parameters[block + "attention_out.weight"].t()
        inner = norm(x, block + "ffn_norm.weight") @ parameters[block + "gate_up.weight"].t()
        gate, up = inner.chunk(2, dim=-1)
        x = x + (functional.silu(gate) * up) @ parameters[block + "down.weight"].t()
    return norm(x, "norm.weight")


def rotated_plainly(x: Tensor, table: Tensor) -> Tensor:
    """`attention.rotated` without complex numbers."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = table.unsqueeze(1).unbind(-1)
    return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), dim=-1).flatten(-2)


def main() -> None:
    """Measure steps, or the demo's 64 proxies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="demo")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4], help="of the stacks, with --demo")
    parser.add_argument("--proxies", type=int, default=64, help="with --demo")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in WORKER_SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | WORKER_SETTINGS)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.demo:
            end_to_end(Path(folder), arguments.sizes, arguments.rounds, arguments.proxies)
        else:
            compare(arguments.shape, arguments.rounds, Path(folder))


def compare(shape: str, rounds: int, folder: Path) -> None:
    """Print milliseconds of a step and proxy, and how far losses are from those of each alone."""
    steps = 4
    table = Table(title=f"{shape}: CPU milliseconds of a step and proxy, median of {rounds} rounds")
    for heading in ("K", "alone", "stack", "batched", "vmap", "alone / stack", "same bits", "batched - alone, nats"):
        table.add_column(heading, justify="right")
    for number in SIZES:
        specs = [spec_of(shape, folder, (rounds + 2) * steps, seed=seed) for seed in range(number)]

        def loops(specs=specs) -> list[TrainingLoop]:
            return [TrainingLoop(spec, CPU) for spec in specs]

        alone = loops()
        stacks = {"stack": Stack(loops()), "batched": Stack(loops(), batched=True)}
        if SHAPES[shape][0].context <= 128:
            stacks["vmap"] = VmapStack(loops(), batched=True)
        works: dict[str, Callable[[], object]] = {"alone": lambda alone=alone: [each.step() for each in alone]}
        works |= {
            name: lambda stack=stack: stack.step([each.next_rows() for each in stack.trainers])
            for name, stack in stacks.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds + 1):
            for name, work in works.items():
                started = time.process_time()
                for _ in range(steps):
                    work()
                seconds[name].append((time.process_time() - started) / steps / number)
        median = {name: 1000 * statistics.median(values[1:]) for name, values in seconds.items()}
        ratio = statistics.median(a / b for a, b in zip(seconds["alone"][1:], seconds["stack"][1:], strict=True))
        pairs = list(zip(alone, stacks["stack"].trainers, stacks["batched"].trainers, strict=True))
        taken = alone[0].taken
        table.add_row(
            str(number),
            *(f"{median[name]:.2f}" if name in median else "" for name in ("alone", "stack", "batched", "vmap")),
            f"{ratio:.2f}",
            "yes" if all(torch.equal(one.flat, two.flat) for one, two, _ in pairs) else "NO",
            f"{max(float((one.losses[:taken] - three.losses[:taken]).abs().max()) for one, _, three in pairs):.1e}",
        )
    Console(width=120).print(table)


def end_to_end(folder: Path, sizes: list[int], rounds: int, proxies: int, workers: int = 2) -> None:
    """Train the demo's proxies as a study does, alone and stacked in turn; print CPU seconds of all workers."""
    training = TrainingSettings.preset("demo")
    table = Table(
        title=f"{proxies} proxies of the demo's preset, {workers} workers: seconds, median of {rounds} rounds"
    )
    for heading in ("stack", "CPU", "wall", "CPU, first / this"):
        table.add_column(heading, justify="right")
    seconds: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size, found in seconds.items():
            specs = [
                spec_of("demo", folder, 1, seed=seed).model_copy(
                    update={"training": training, "folder": folder / f"{number}-{size}"}
                )
                for seed in range(proxies)
            ]
            cpu, wall = _children(), time.monotonic()
            results = list(LocalExecutor(workers, stack=size).run(specs))
            found.append((_children() - cpu, time.monotonic() - wall))
            if failed := [result for result in results if result.error]:
                raise SystemExit(str(failed[0].error))
    for size, found in seconds.items():
        cpu, wall = (statistics.median(each) for each in zip(*found, strict=True))
        ratio = statistics.median(one[0] / two[0] for one, two in zip(seconds[sizes[0]], found, strict=True))
        table.add_row(str(size), f"{cpu:.1f}", f"{wall:.1f}", f"{ratio:.2f}")
    Console().print(table)


def _children() -> float:
    """CPU seconds of all processes that this one has waited for."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
