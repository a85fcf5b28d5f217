"""Rounds against one shot on real text: which choice leads to the better target run, and how much choices differ.

    python benchmarks/rounds_on_text.py [STUDY] [--budgets 64 32] [--choices 3] [--target-seeds 2] [--ways NAME ...]

Every way of spending a budget of proxies chooses `--choices` times, each time with mixtures and proxies of another
seed. All chosen mixtures and the natural one are then trained as target runs with the same seeds. Printed for every way
and budget: proxies trained, the objective's mean over choices and target runs with its standard error over choices,
the deviation between choices, and the regret against the best mixture that any way chose. The study (default
studies/bench.yaml, hours on two cores) is only its data, models and limits: its own proxies are not trained. Killed at
any moment, it goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from strategies import ROOT, markdown

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import written_atomically
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.ngrams.stage import NGRAM_MODELS
from regmix_pipeline.progress import clock
from regmix_pipeline.search.region import natural_inside
from regmix_pipeline.stages import DOMAIN_INVENTORY, STAGES, behind
from regmix_pipeline.strategies.arena import Strategy
from regmix_pipeline.strategies.catalogue import STRATEGIES
from regmix_pipeline.strategies.methods.ours import OneShot, Ours
from regmix_pipeline.strategies.trained.arena import FINAL_SEED, TrainedArena


class WithoutCounts(TrainedArena):
    """The same arena where n-gram counts are not known."""

    @property
    def counted(self) -> NgramEvidence | None:
        """None."""
        return None


WAYS = ("rounds and counts", "rounds", "one shot", "regmix", "climb")


def strategy_of(way: str) -> Strategy:
    """The strategy of a way."""
    if way in ("rounds and counts", "rounds"):
        return Ours()
    return OneShot() if way == "one shot" else STRATEGIES[way]()


def choice(workspace: Workspace, way: str, budget: int, seed: int) -> tuple[Mixture, float]:
    """The mixture that a way chooses, and what it spent, in proxies."""
    arena = (TrainedArena if way == "rounds and counts" else WithoutCounts)(workspace, f"{way}, {budget}, {seed}:")
    chosen = strategy_of(way).choose(arena, budget * arena.proxy.flops, seed)
    [(_, mixture)] = chosen.schedule
    return mixture, arena.account.flops / arena.proxy.flops


def target_losses(workspace: Workspace, mixtures: Sequence[Mixture], seeds: int) -> dict[str, list[float]]:
    """Mixture id -> the objective of its target runs, nats per token, a number a seed."""
    arena = TrainedArena(workspace, "chosen mixtures:")
    found: dict[str, list[float]] = {mixture.id: [] for mixture in mixtures}
    for seed in range(seeds):
        for run in arena.train(
            list({mixture.id: mixture for mixture in mixtures}.values()), arena.target, FINAL_SEED + seed
        ):
            shares = arena.objective
            found[run.mixture.id].append(
                sum(share * run.losses[name] for name, share in shares.items()) / sum(shares.values())
            )
    return found


def table(rows: pl.DataFrame) -> Iterator[dict[str, str]]:
    """A line for each way and budget; natural last."""
    best = rows["objective"].min()
    assert isinstance(best, float)
    for (way, budget), some in rows.group_by("way", "budget", maintain_order=True):
        found = some["objective"].to_numpy()
        spread = float(found.std(ddof=1)) if len(found) > 1 else float("nan")
        yield {
            "way": str(way),
            "budget": str(budget or ""),
            "choices": str(len(found)),
            "proxies": f"{some['proxies'].mean():.0f}",
            "objective": f"{found.mean():.4f} ± {spread / len(found) ** 0.5:.4f}",
            "between choices": f"{spread:.4f}",
            "regret": f"{found.mean() - best:.4f}",
        }


def main() -> None:
    """Choose, train what was chosen, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default=str(ROOT / "studies" / "bench.yaml"))
    parser.add_argument("--home")
    parser.add_argument("--data", default=str(ROOT / ".regmix" / "data"))
    parser.add_argument("--budgets", nargs="+", type=int, default=[64, 32])
    parser.add_argument("--choices", type=int, default=3)
    parser.add_argument("--target-seeds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:3])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, help="a Parquet of every choice")
    asked = parser.parse_args()
    started = time.monotonic()
    workspace = Workspace(asked.study, asked.home, asked.data, workers=asked.workers)
    ends = (DOMAIN_INVENTORY, NGRAM_MODELS)
    needed = {*ends, *(stage for end in ends for stage in behind(end))}
    run_stale(workspace, [stage for stage in STAGES if stage in needed], "benchmarks/rounds_on_text.py")
    arena = TrainedArena(workspace)
    natural = natural_inside(arena.prior, arena.limits)
    rows: list[dict[str, Any]] = []
    mixtures = [natural]
    for budget in asked.budgets:
        for seed in range(asked.choices):
            for way in asked.ways:
                mixture, spent = choice(workspace, way, budget, seed)
                mixtures.append(mixture)
                rows.append({"way": way, "budget": budget, "seed": seed, "proxies": spent, "mixture": mixture.id})
    rows.append({"way": "natural", "budget": 0, "seed": 0, "proxies": 0.0, "mixture": natural.id})
    losses = target_losses(workspace, mixtures, asked.target_seeds)
    frame = pl.DataFrame([{**row, "objective": float(np.mean(losses[row["mixture"]]))} for row in rows])
    if asked.out:
        with written_atomically(asked.out) as temporary:
            frame.write_parquet(temporary)
    print(markdown(list(table(frame.sort("budget", descending=True, maintain_order=True)))))
    noise = np.mean([np.std(values, ddof=1) for values in losses.values()]) if asked.target_seeds > 1 else float("nan")
    print(f"deviation between target runs of one mixture: {noise:.4f} nats per token")
    workspace.say(f"took {clock(time.monotonic() - started)}, what was there before not counted")


if __name__ == "__main__":
    main()
