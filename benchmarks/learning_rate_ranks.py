"""Do proxies rank mixtures alike at another learning rate? Real text, a few mixtures, half and double the rate.

    python benchmarks/learning_rate_ranks.py [--study studies/demo.yaml] [--home FOLDER] [--data FOLDER] [--mixtures 8]
        [--seeds 2] [--factors 0.5 1 2]

The study's text is tokenised and its mixtures are drawn; nothing else of it is made. The natural and the first sampled
mixtures are trained with every rate and seed. Printed for the objective: rank correlation of the mean losses between
rates, beside what two seeds of the same rate have in common; the best mixture of each rate, and how many pairs of
mixtures change places. Killed at any moment, it goes on in the same home.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.tasks import evaluation_specs, proxy_seed, proxy_specs, target_files
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.stages import DATA

FOLDER = "learning_rates"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("studies/demo.yaml"))
    parser.add_argument("--home", type=Path, default=Path(".regmix/learning_rates"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--mixtures", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    workspace = Workspace(asked.study, asked.home, asked.data)
    run_stale(workspace, DATA)
    workspace = Workspace(asked.study, asked.home, asked.data)
    origins = {entry["id"]: entry["origin"] for entry in workspace.json("mixtures")["mixtures"]}
    ordered = sorted(origins, key=lambda key: origins[key] != "natural")
    chosen = {key: current_mixtures(workspace)[key] for key in ordered[: asked.mixtures]}
    found = {
        factor: losses(workspace, chosen, factor, asked.seeds, asked.workers) for factor in asked.factors
    }  # each (seeds, mixtures)
    shown(found, workspace.study.proxies.training_settings.learning_rate, list(chosen))


def losses(workspace: Workspace, mixtures: dict[str, Mixture], factor: float, seeds: int, workers: int) -> np.ndarray:
    """The objective of proxies at so many times the study's learning rate, (seeds, mixtures)."""
    proxies = workspace.study.proxies
    training = proxies.training_settings
    training = training.model_copy(update={"learning_rate": training.learning_rate * factor})
    numbers = [proxy_seed(workspace, number) for number in range(seeds)]
    of_each = dict.fromkeys(mixtures, numbers)
    specs = proxy_specs(workspace, mixtures, proxies.model_settings, training, of_each, FOLDER, trajectory=False)
    every = [spec for group in specs.values() for spec in group]
    executor = LocalExecutor(workers)
    _run(executor, every, f"rate x {factor:g}")
    targets = {name: file for name, file in target_files(workspace).items() if name in workspace.study.objective}
    tasks = evaluation_specs(workspace, every, targets, proxies.evaluation)
    value = dict.fromkeys((spec.id for spec in every), 0.0)
    for result in executor.run(tasks):
        if result.error is not None:
            raise result.error
        value[result.value["proxy"]] += workspace.study.objective[result.value["target"]] * result.value["loss"]
    return np.array([[value[specs[key][number].id] for key in mixtures] for number in range(seeds)])


def _run(executor: LocalExecutor, specs: list[ProxySpec], what: str) -> None:
    for number, result in enumerate(executor.run(specs), start=1):
        if result.error is not None:
            raise result.error
        print(f"{what}: {number} of {len(specs)}", flush=True)


def shown(found: dict[float, np.ndarray], rate: float, names: list[str]) -> None:
    """The tables, as Markdown."""
    print("\n| rate | mean loss | spread over mixtures | rank between seeds | best mixture |\n|---|---:|---:|---:|---|")
    for factor, values in found.items():
        mean = values.mean(axis=0)
        pairs = [_rank(values[a], values[b]) for a, b in combinations(range(len(values)), 2)]
        between = f"{np.mean(pairs):.3f}" if pairs else "not known"
        spread, best = mean.std(ddof=1), names[int(mean.argmin())]
        print(f"| {rate * factor:.2g} | {mean.mean():.3f} | {spread:.3f} | {between} | {best} |")
    columns = ("rank of the means", "pairs that change places", "lost by choosing at the first")
    print(f"\n| rates | {' | '.join(columns)} |\n|---|" + "---:|" * len(columns))
    for one, other in combinations(found, 2):
        a, b = found[one].mean(axis=0), found[other].mean(axis=0)
        changed = sum((a[i] - a[j]) * (b[i] - b[j]) < 0 for i, j in combinations(range(len(a)), 2))
        every, lost = len(a) * (len(a) - 1) // 2, b[int(a.argmin())] - b.min()
        print(f"| {one:g} and {other:g} times | {_rank(a, b):.3f} | {changed} of {every} | {lost:.4f} |")


def _rank(one: np.ndarray, other: np.ndarray) -> float:
    return float(spearman(one[:, None], other[:, None])[0])


if __name__ == "__main__":
    main()
