"""Which of the sampler's draws to train on: at random, or far apart, out of how large a pool.

    python benchmarks/sampler_design.py FOLDER

FOLDER as for published_tables.py. The published rows are a fixed pool of 512; the sampler chooses from a hundred times
more draws than it needs, whose farthest points lie deep in corners. So this study needs a world: a Gaussian process
round the saturation law, fitted to the published training rows, says what a run on any mixture would measure, noise
included. Mixtures are drawn by the sampler itself under the paper's own prior, the saturation law is fitted to the
chosen ones and scored on fresh random draws without noise. What a world that was fitted with this law says of corners
is the law's own extrapolation; differences between choices are to be read with that in mind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from published_tables import FOCUS, WORKERS, read
from threadpoolctl import threadpool_limits

from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.sampler import sample
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.settings.mixtures import MixtureSettings

SEEDS = 4
SIZES = (16, 32, 64, 128)
CHOICES = {"random": None, "far, of 4 x": 4, "far, of 20 x": 20, "far, of 100 x": 100}
FRESH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    train = read(parser.parse_args().folder, "train")
    study = load_study(Path(__file__).parents[1] / "studies" / "pile.yaml")
    available = np.array([float(study.domains[name].available_tokens or 0) for name in train.domains])
    prior = available / available.sum()
    limits = Limits(tuple(train.domains), np.ones(len(prior)), np.zeros(len(prior)))
    with threadpool_limits(WORKERS):
        world = GaussianProcessLaw().fit(train.weights, train.losses)
        noise = np.sqrt([known["variance"] * known["noise"] for known in world.learned_["targets"]])

        def drawn(count: int, seed: int, pool: int | None) -> np.ndarray:
            settings = MixtureSettings(
                count=count, oversample=pool or 100, choice="space_filling" if pool else "random", under_caps=False
            )
            return np.array([mixture.vector(train.domains) for mixture in sample(prior, limits, settings, seed)])

        fresh = drawn(FRESH, 999, None)
        truth = world.predict(fresh)
        focus = train.targets.index(FOCUS)
        print(f"saturation law, mean of {SEEDS} draws: Spearman x 100 on {FOCUS} (mean of all targets)\n")
        print(f"{'rows':>6}" + "".join(f"{name:>18}" for name in CHOICES))
        for size in SIZES:
            cells = []
            for pool in CHOICES.values():
                scores = []
                for seed in range(SEEDS):
                    weights = drawn(size, seed, pool)
                    measured = world.predict(weights)
                    measured += np.random.default_rng(seed).normal(size=measured.shape) * noise
                    scores.append(100 * spearman(SaturationLaw().fit(weights, measured).predict(fresh), truth))
                mean = np.mean(scores, axis=0)
                cells.append(f"{mean[focus]:.2f} ({mean.mean():.2f})".rjust(18))
            print(f"{size:>6}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
