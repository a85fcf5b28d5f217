"""When n-gram counts are trusted, on synthetic worlds with counts of every quality.

    python benchmarks/trust.py [--worlds 10] [--first 0] [--presets easy ...] [--pilots 12] [--without 48] [--out FILE]

A world has no text, so its counts are made here: every token of a target asks for one of the skills that the target
needs, and a domain gives it a probability that grows with what it teaches of that skill. Counts are then spoilt: part
of the logarithm of each probability is replaced by chance. In every world and for every part, `--pilots` proxies are
measured and the gate is asked. What the counts are worth is judged on 400 mixtures that nobody trained, by their losses
without noise: the rank correlation, mean over the targets with weight, of the line on counts that was fitted to the
pilots. Printed for each range of it: how often the counts were trusted, and the ranks of the process around them, of a
Gaussian process on the same pilots, and of one on `--without` proxies.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

from regmix_pipeline.files import written_atomically
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.regression.catalogue import regressor
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.regression.trust import trust, trusted
from regmix_pipeline.strategies.methods.experiments import loss_table, objective_counted, sampled
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.study.settings.regression import TrustSettings

SPOILT = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 1.0)
"""Parts of the counts that are chance."""
TOKENS, BACKGROUND = 512, 0.05
"""Tokens of a target, and the probability that a domain gives what it does not teach, in those of one that does."""
BINS = (-1.0, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
PRESETS = ("easy", "interactions", "scarce", "noisy")
JUDGED = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--pilots", type=int, default=12)
    parser.add_argument("--without", type=int, default=48)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows: list[dict[str, object]] = []
    worlds = [(preset, seed) for preset in asked.presets for seed in range(asked.first, asked.first + asked.worlds)]
    for number, (preset, seed) in enumerate(worlds, start=1):
        rows += judged(preset, seed, asked.pilots, asked.without)
        print(f"{number} of {len(worlds)}", flush=True)
    table = pl.DataFrame(rows)
    if asked.out:
        with written_atomically(asked.out) as temporary:
            table.write_parquet(temporary)
    report(table, asked.without)


def counted(world: SyntheticWorld, spoilt: float) -> NgramEvidence:
    """Counts of a world's targets with weight, of which a part is chance."""
    generator = world.generator("counts")
    found = {}
    for target in objective_counted(world):
        need = world.law.need[world.texts.index(target)]
        skills = generator.choice(len(need), size=TOKENS, p=need / need.sum())
        teach = world.law.teach / world.law.teach.max(axis=1, keepdims=True)
        known = np.log(BACKGROUND + teach)
        chance = known.std() * generator.standard_normal(known.shape)
        mixed = (1 - spoilt) * known + spoilt * chance
        found[target] = np.exp(mixed - mixed.max() - 0.01)[skills]
    return NgramEvidence(world.domains, found)


def judged(preset: str, seed: int, pilots: int, without: int) -> Iterator[dict[str, object]]:
    """A row for each part of the counts that is chance."""
    world = SyntheticWorld(preset, seed)
    columns = [world.targets.index(name) for name in objective_counted(world)]
    epochs = None if world.epochs is None else world.epochs.tolist()

    def measured(count: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = sampled(world, MixtureSettings(count=count), world.seed)
        return loss_table(world, world.train(drawn, world.proxy))[:2]

    held = sampled(world, MixtureSettings(count=JUDGED), world.seed + 1)
    X = np.array([mixture.vector(world.domains) for mixture in held])
    exact = world.true_losses(X, world.proxy)[:, columns]
    few, many = measured(pilots), measured(without)

    def rank(fitted: str, data: tuple[np.ndarray, np.ndarray], *given: Any) -> float:
        return float(spearman(regressor(fitted, *given).fit(*data).predict(X), exact).mean())

    alone, more = rank("gaussian_process", few), rank("gaussian_process", many)
    for spoilt in SPOILT:
        evidence = counted(world, spoilt)
        yield {
            "preset": preset,
            "world": world.seed,
            "spoilt": spoilt,
            "trusted": trusted(trust(*few, evidence, TrustSettings(), epochs)),
            "line": rank("ngrams", few, epochs, evidence),
            "process around it": rank("ngrams_process", few, epochs, evidence),
            "alone": alone,
            "more": more,
        }


def report(table: pl.DataFrame, without: int) -> None:
    """Print what the gate says by what the counts are worth."""
    print(
        "| rank of the line | worlds | trusted | process around it | Gaussian process | the same, of " + f"{without} |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for low, high in pairwise(BINS):
        part = table.filter((pl.col("line") > low) & (pl.col("line") <= high))
        if len(part):
            cells = [f"{part[name].mean():.3f}" for name in ("process around it", "alone", "more")]
            said = f"{low:.2f} to {high:.2f}" if low >= 0 else f"below {high:.2f}"
            print(f"| {said} | {len(part)} | {part['trusted'].mean():.0%} | " + " | ".join(cells) + " |")
    for said, part in (("trusted", table.filter("trusted")), ("refused", table.filter(~pl.col("trusted")))):
        gained = (part["process around it"] - part["alone"]).to_numpy()
        if len(part):
            mean, error = gained.mean(), gained.std() / len(gained) ** 0.5
            better = f"better in {(gained > 0).mean():.0%}, by {mean:.3f} ± {error:.3f}"
            print(f"{said}: {len(part)}; the process around counts ranks {better}")


if __name__ == "__main__":
    main()
