"""What proxies that repeat their text more often than the large run would are worth, on synthetic worlds.

    python benchmarks/pool_sizes.py [--worlds 12] [--presets worn ...] [--first 0] [--proxies 48] [--others 12]
        [--pool 0.5] [--workers 2]

Two ways spend the same number of proxies, all mixtures sampled at once. `same`: all repeat each domain as often as the
large run would at the same weight. `other`: so many of them have a pool of half the tokens, and so repeat it twice as
often; the regressors are told. Both fit what repetition is worth, choose regressors by cross-validation and search at
the large run's own pool. Printed: the regret of both, as a share of what the optimum gains over the natural mixture,
and how often the law of epochs takes part.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from regmix_pipeline.regression.catalogue import EPOCHS
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Choice
from regmix_pipeline.strategies.methods.experiments import objective_counted, sampled
from regmix_pipeline.strategies.methods.fitted_one import optimised
from regmix_pipeline.strategies.methods.ours import Ours
from regmix_pipeline.strategies.synthetic.presets import PRESETS
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
from regmix_pipeline.study.settings.mixtures import MixtureSettings


def measured(preset: str, seed: int, proxies: int, others: int, pool: float) -> list[tuple[float, bool]]:
    """Of `same` and `other`: regret as a share, and whether a law of epochs takes part."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return [_measured(SyntheticWorld(preset, seed), seed, proxies, count, pool) for count in (0, others)]


def _measured(world: SyntheticWorld, seed: int, proxies: int, others: int, pool: float) -> tuple[float, bool]:
    assert world.epochs is not None
    mixtures = sampled(world, MixtureSettings(count=proxies), seed)
    same = proxies - others
    runs = world.train(mixtures[:same], world.proxy, seed) + world.train(mixtures[same:], world.proxy, seed, pool)
    repeated = np.repeat([1.0, 1 / pool], [same, others])
    fitted = Ours(workers=1).fitted(world, runs, seed, repeated[:, None] * world.epochs)
    found = rounded_inside(optimised(world, fitted, objective_counted(world), seed), world.limits)
    fitted_epochs = any(set(EPOCHS) & set(blend) for blend in fitted.blend.values())
    return world.regret(Choice.of(found))[1], fitted_epochs


def main() -> None:
    """Measure, and print a line a preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=12)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["scarce", "worn", "worn_loose"])
    parser.add_argument("--proxies", type=int, default=48)
    parser.add_argument("--others", type=int, default=12)
    parser.add_argument("--pool", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    print("| worlds | same pool | other pools | difference | law of epochs, same | other |\n|---|" + "---:|" * 5)
    with ProcessPoolExecutor(given.workers) as executor:
        for preset in given.presets:
            jobs = [
                executor.submit(measured, preset, given.first + number, given.proxies, given.others, given.pool)
                for number in range(given.worlds)
            ]
            pairs = [job.result() for job in jobs]
            shares = 100 * np.array([[share for share, _ in pair] for pair in pairs])
            used = np.array([[law for _, law in pair] for pair in pairs]).sum(axis=0)
            cells = [_cell(shares[:, 0]), _cell(shares[:, 1]), _cell(shares[:, 1] - shares[:, 0])]
            print(f"| {preset} ({given.worlds}) | {' | '.join(cells)} | {used[0]} | {used[1]} |", flush=True)


def _cell(values: np.ndarray) -> str:
    return f"{values.mean():.1f} ± {values.std(ddof=1) / len(values) ** 0.5:.1f}%"


if __name__ == "__main__":
    main()
