# ruff: noqa: TID253
"""Speed of a proxy's training beside transformers and litgpt, and beside the machine's matrix products.

    make bench-throughput                            # a virtual environment of its own, then this file in it
    python benchmarks/proxy_throughput.py [SHAPE ...] [--rounds N] [--small-pages] [--demo]

One process, one thread and a worker's environment for all contenders, huge pages for large tensors among it;
--small-pages measures without those, as a loop has it that asks for nothing. Every round takes steps of each contender
in turn, on the same windows of real token files, with the same passes, clipping and fused AdamW; ratios are medians
over rounds of that round's ratio. Times are the process's CPU seconds: with one thread they are the wall's, less what
other work took of the core. Ratios are printed only if all give the same loss and gradient norm at the same weights.

--demo instead trains 64 proxies of the demo's preset on two workers and prints which share of their time is not steps.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import SAME_PASSES, LitGPT, Peer, Transformers
from rich.console import Console
from rich.table import Table

from regmix_pipeline.processes import WORKER_SETTINGS
from regmix_pipeline.proxies.loss import linear_cross_entropy
from regmix_pipeline.proxies.spec import ProxySpec, TargetFile, TokenFile
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

SHAPES = {
    "1m-8k": (ModelSettings.preset("regmix-1m", context=512), 8192, 8, 1),
    "1m-50k": (ModelSettings.preset("regmix-1m", context=512), 50_432, 8, 1),
    "demo": (ModelSettings.preset("demo"), 4096, 8, 24),
}
"""Name -> model, vocabulary, windows per optimiser step, steps per round."""

Work = Callable[[], object]


def main() -> None:
    """Measure the shapes asked for, or the demo's 64 proxies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--small-pages", action="store_true", help="without the huge pages that workers ask for")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--memory", choices=SHAPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    settings = WORKER_SETTINGS | ({"THP_MEM_ALLOC_ENABLE": "0"} if arguments.small_pages else {})
    if any(os.environ.get(name) != value for name, value in settings.items()):  # libraries read them when they load
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | settings)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            print(_peak_of_a_worker(arguments.memory, Path(folder)))
        elif arguments.demo:
            outside_the_steps(Path(folder))
        else:
            for shape in arguments.shapes or SHAPES:
                compare(shape, arguments.rounds, Path(folder))


def spec_of(shape: str, folder: Path, steps: int, *, seed: int = 1, tokens: int = 2_000_000) -> ProxySpec:
    """A proxy of the shape on two domains of random tokens, as frequent as words are (Zipf), and two targets."""
    model, vocabulary, windows, _ = SHAPES[shape]
    files = {name: token_file(folder / f"{shape}-{name}.ds", vocabulary, tokens) for name in ("web", "books")}
    training = TrainingSettings(tokens=steps * windows * model.context, windows_per_step=windows, warmup_steps=2)
    return ProxySpec(
        mixture={"web": 700_000, "books": 300_000},
        model=model,
        vocabulary=vocabulary,
        training=training,
        seed=seed,
        shards=files,
        targets={name: TargetFile(**file.model_dump(), bytes=4 * file.tokens) for name, file in files.items()},
        folder=folder / "proxies",
        device="cpu",
    )


def token_file(path: Path, vocabulary: int, tokens: int, power: float = 1.0) -> TokenFile:
    """Random tokens, the n-th most frequent one of them n^-power times as frequent as the first."""
    if not path.is_file():
        rng = np.random.Generator(np.random.PCG64(len(path.name)))
        frequencies = np.arange(1, vocabulary + 1) ** -power
        rng.choice(vocabulary, tokens, p=frequencies / frequencies.sum()).astype("<u2").tofile(path)
    return TokenFile(path=path, dtype="uint16", tokens=tokens, version=path.stem)


def compare(shape: str, rounds: int, folder: Path) -> None:
    """Print one shape's tables.

    All take a step's windows in passes of the same size; transformers also takes them all at once, as the plainest loop
    would.
    """
    model, vocabulary, windows, steps = SHAPES[shape]
    trainer = TrainingLoop(spec_of(shape, folder, (rounds + 3) * steps), torch.device("cpu"))
    peers: dict[str, Peer] = {"transformers": Transformers(trainer), "litgpt": LitGPT(trainer)}
    if windows * model.context > SAME_PASSES:
        peers["transformers, one pass"] = Transformers(trainer, windows * model.context)
    check_agreement(trainer, peers)
    works: dict[str, Work] = {**{name: peer.step for name, peer in peers.items()}, "ours": trainer.step}
    gc.collect()
    gc.freeze()
    square, head = _square(), _head_products(min(2048, windows * model.context), model.width, vocabulary)
    tokens = steps * windows * model.context
    flops = tokens * model.training_flops_per_token(vocabulary)
    seconds: dict[str, list[float]] = {name: [] for name in (*works, "square", "head")}
    for number in range(rounds + 1):
        for name, work in works.items():
            seconds[name].append(_seconds(work, steps) / flops)
        for name, (work, work_flops) in {"square": square, "head": head}.items():
            seconds[name].append(_seconds(work, 3) / (3 * work_flops))
        if number == 0:  # the first round warms up
            for values in seconds.values():
                values.clear()
    _print_comparison(shape, seconds, tokens / flops)
    print_parts(trainer, steps)
    print(f"peak memory of a worker that trains it: {_peak_in_a_process(shape):.0f} MB\n")


def _seconds(work: Work, times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - started


def _square(size: int = 1024) -> tuple[Work, float]:
    """A product of square matrices and its FLOPs."""
    a, b, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    return lambda: torch.mm(a, b, out=out), 2.0 * size**3


def _head_products(rows: int, width: int, vocabulary: int) -> tuple[Work, float]:
    """The head's three products, whole, with nothing between them, and their FLOPs."""
    hidden, head = torch.randn(rows, width), torch.randn(vocabulary, width)
    logits, back, gradient = torch.empty(rows, vocabulary), torch.empty_like(hidden), torch.empty_like(head)

    def work() -> None:
        torch.mm(hidden, head.t(), out=logits)
        torch.mm(logits, head, out=back)
        torch.mm(logits.t(), hidden, out=gradient)

    return work, 6.0 * rows * width * vocabulary


def check_agreement(trainer: TrainingLoop, peers: dict[str, Peer]) -> None:
    """Stop unless all give the loss and the gradient norm of the first step at equal weights, within float32."""
    windows = trainer.spec.training.windows_per_step
    trainer.gradient.zero_()
    loss = float(trainer._gradients(trainer.windows.read(0, windows)))
    norm = float(torch.linalg.vector_norm(trainer.gradient, dtype=torch.float64))
    trainer.gradient.zero_()
    for name, peer in peers.items():
        theirs = [float(value) for value in peer.gradients()]
        if not np.allclose(theirs, [loss, norm], rtol=2e-4):
            raise SystemExit(f"{name} gives loss and gradient norm {theirs}, ours {[loss, norm]}: no comparison")
    print(f"same weights, same windows: loss {loss:.5f} and gradient norm {norm:.5f}, all of them")


def _print_comparison(shape: str, seconds: dict[str, list[float]], tokens_per_flop: float) -> None:
    table = Table(title=f"{shape}: median of {len(seconds['ours'])} rounds")
    headings = ("", "tokens/s", "GFLOP/s", "ours / it (min-max)", "share of square GEMM")
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for name, values in seconds.items():
        rate = 1 / statistics.median(values)
        speed = f"{rate * tokens_per_flop:,.0f}" if name not in ("square", "head") else ""
        ratio, low, high = _ratio(values, seconds["ours"])
        share, _, _ = _ratio(seconds["square"], values)
        title = {"square": "square GEMM, 1024", "head": "head's products alone"}.get(name, name)
        versus = "" if name == "ours" else f"{ratio:.2f} ({low:.2f}-{high:.2f})"
        table.add_row(title, speed, f"{rate / 1e9:.1f}", versus, f"{share:.0%}")
    Console(width=120).print(table)


def _ratio(theirs: list[float], ours: list[float]) -> tuple[float, float, float]:
    """How many times as fast as them we are: median, least and most over rounds."""
    ratios = [them / us for them, us in zip(theirs, ours, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def print_parts(trainer: TrainingLoop, steps: int, rounds: int = 5) -> None:
    """Where a step's time goes: the step again, part by part."""
    model, training, windows = trainer.model, trainer.spec.training, trainer.spec.training.windows_per_step
    spent: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        value = work()
        spent[name][-1] += time.process_time() - started
        return value

    parts = ("windows", "embedding", "blocks, forward", "head and loss", "blocks, backward", "clip and AdamW", "rest")
    for _ in range(rounds):
        for name in parts:
            spent.setdefault(name, []).append(0.0)
        for _ in range(steps):
            rows = timed("windows", lambda: torch.from_numpy(trainer.windows.read(0, windows)))
            timed("rest", trainer.gradient.zero_)
            for part in rows.chunk(trainer.passes):
                inputs, targets = part[:, :-1], part[:, 1:].reshape(-1)
                x = timed("embedding", lambda inputs=inputs: model.embedding(inputs.reshape(-1)))
                leaf = x.detach().requires_grad_()
                hidden = timed("blocks, forward", lambda x=leaf, tokens=inputs: model.decoded(x, len(tokens)))
                states = hidden.detach().requires_grad_()
                loss = timed("head and loss", lambda states=states, t=targets: _head_loss(trainer, states, t))
                timed("head and loss", loss.backward)
                timed("blocks, backward", lambda hidden=hidden, states=states: hidden.backward(states.grad))
                timed("embedding", lambda x=x, leaf=leaf: x.backward(leaf.grad))
            timed("clip and AdamW", lambda: trainer.optimiser.step(training.learning_rate))
    medians = {name: statistics.median(values) / steps for name, values in spent.items()}
    whole = sum(medians.values())
    print("a step: " + ", ".join(f"{name} {value / whole:.1%}" for name, value in medians.items()), end="; ")
    print(f"{1000 * whole:.1f} ms in all")


def _head_loss(trainer: TrainingLoop, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    head = trainer.model.head
    return linear_cross_entropy(states, head, targets, scale=1 / len(targets), gradient=head.grad)


def _peak_in_a_process(shape: str) -> float:
    command = [sys.executable, __file__, "--memory", shape]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _peak_of_a_worker(shape: str, folder: Path) -> float:
    """Most resident megabytes of a worker process that trains, evaluates and writes a proxy of four steps."""
    (result,) = LocalExecutor(1).run([spec_of(shape, folder, 4)])
    if result.error:
        raise result.error
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def outside_the_steps(folder: Path, proxies: int = 64, workers: int = 2) -> None:
    """Train proxies of the demo's preset as a study does; print which share of the workers' time is not steps."""
    training = TrainingSettings.preset("demo")
    specs = [spec_of("demo", folder, 1, seed=seed).model_copy(update={"training": training}) for seed in range(proxies)]
    started = time.monotonic()
    results = list(LocalExecutor(workers).run(specs))
    wall = (time.monotonic() - started) * workers
    if failed := [result for result in results if result.error]:
        raise SystemExit(str(failed[0].error))
    clocks = [result.value["seconds"] for result in results]
    steps, evaluation, total = (sum(clock[name] for clock in clocks) for name in ("steps", "evaluation", "total"))
    inside = sum(result.seconds for result in results)
    shares = {
        "steps": steps,
        "evaluation": evaluation,
        "loading (shards, model)": total - steps - evaluation,
        "writing, and the end of it": inside - total,
        "start-up of workers, hand-over, idle at the end": wall - inside,
    }
    table = Table(title=f"{proxies} proxies of the demo's preset, {workers} workers: {wall / workers:.1f} s")
    table.add_column("")
    table.add_column("seconds of workers", justify="right")
    table.add_column("share", justify="right")
    for name, value in shares.items():
        table.add_row(name, f"{value:.2f}", f"{value / wall:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
