"""What n-gram counts are worth beside trained proxies: rank and error on mixtures not used, and how often counts are
trusted, against the number of proxies.

    python benchmarks/ngrams.py studies/demo.yaml --rows 4 8 12 16 24 32
    python benchmarks/ngrams.py studies/demo.yaml --repeat 2 6

The study must be decided (`regmix run`). Mixtures are drawn at random from the measured ones; the regressors are fitted
to their losses and judged on the others. No model is trained, but for ``--repeat``: variants of the study with 32
sampled mixtures, whose proxies repeat their text so many times as often, are run first, each in a home of its own.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.ngrams.stage import ngram_evidence
from regmix_pipeline.regression.blend import blend_weights, blended
from regmix_pipeline.regression.catalogue import NGRAMS, regressor
from regmix_pipeline.regression.cross_validation import out_of_fold
from regmix_pipeline.regression.folds import random_folds
from regmix_pipeline.regression.metrics import rmse, spearman
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.regression.training_data import loss_table
from regmix_pipeline.regression.trust import trust, trusted
from regmix_pipeline.stages import up_to

Array = NDArray[np.float64]
ALONE = ("saturation", "gaussian_process")
COMPARED = (*ALONE, "ngrams", "ngrams_process")
STACKS = {"stack without counts": ALONE, "stack with counts": COMPARED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 8, 12, 16, 24, 32])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--repeat", type=int, nargs="*", default=[])
    asked = parser.parse_args()
    for factor in asked.repeat:
        with repeating(asked.study, factor) as variant:
            run_stale(Workspace(variant), up_to(REGRESSOR))
            report(Workspace(variant, say=lambda line: None), asked.rows, asked.draws)
    if not asked.repeat:
        report(Workspace(asked.study, home=asked.home, say=lambda line: None), asked.rows, asked.draws)


@contextmanager
def repeating(study: Path, factor: int) -> Iterator[Path]:
    """A variant of a study whose large run, and so its proxies, repeat the text ``factor`` times as often."""
    settings = yaml.safe_load(study.read_text())
    limits = settings["limits"]
    settings["name"] = f"{settings['name']}-repeats-{factor}"
    settings["limits"] = limits | {name: limits[name] * factor for name in ("target_tokens", "max_epochs")}
    settings["mixtures"] = settings["mixtures"] | {"count": 32, "rounds": {"number": 1}}
    settings.pop("confirmation", None)
    variant = study.with_name(f"{settings['name']}.yaml")
    variant.write_text(yaml.safe_dump(settings, sort_keys=False))
    try:
        yield variant
    finally:
        variant.unlink()


def report(workspace: Workspace, asked_rows: Sequence[int], draws: int) -> None:
    """Print a table of one study."""
    table, evidence = loss_table(workspace), ngram_evidence(workspace)
    known = None if evidence is None else evidence.over(table.domains, workspace.targets)
    if known is None:
        raise SystemExit(
            f"{workspace.study.name}: nothing was counted; run the study with a regressor of n-gram counts"
        )
    counted = [workspace.targets.index(name) for name in workspace.study.objective]
    print(f"{workspace.study.name}: {len(table.mixtures)} mixtures, {len(table.domains)} domains, {draws} draws each")
    print("Spearman correlation / root mean square error over the losses' deviation, mean over draws of the mean")
    print(f"over the targets with weight ({', '.join(workspace.study.objective)}); trusted: share of draws")
    width = max(map(len, (*COMPARED, *STACKS)))
    print(f"{'rows':>4}  " + "  ".join(f"{name:>{width}}" for name in (*COMPARED, *STACKS)) + "  trusted")
    epochs = None if table.epochs is None else table.epochs.proxies.tolist()
    generator = np.random.Generator(np.random.PCG64(0))
    for rows in (each for each in asked_rows if each < len(table.mixtures) - 2):
        scores: dict[str, list[Array]] = defaultdict(list)
        relied = []
        for _ in range(draws):
            order = generator.permutation(len(table.mixtures))
            seen, held = order[:rows], order[rows:]
            X, Y = table.weights[seen], table.losses[seen][:, counted]
            part = known.over(table.domains, list(workspace.study.objective))
            assert part is not None
            for name, predicted in predictions(X, Y, table.weights[held], part, epochs).items():
                scores[name].append(scored(predicted, table.losses[held][:, counted]))
            found = trust(X, Y, part, workspace.study.regression.trust, epochs)
            relied.append(trusted(found))
        cells = [f"{np.mean(scores[name], axis=0)[0]:.3f} / {np.mean(scores[name], axis=0)[1]:.2f}" for name in scores]
        print(
            f"{rows:>4}  " + "  ".join(f"{cell:>{width}}" for cell in cells) + f"  {np.mean(relied):>7.0%}", flush=True
        )


def predictions(
    X: Array, Y: Array, held: Array, evidence: NgramEvidence, epochs: list[float] | None
) -> dict[str, Array]:
    """Regressor -> predictions for mixtures held back, (m, T)."""
    make = {name: partial(regressor, name, *([epochs, evidence] if name in NGRAMS else [])) for name in COMPARED}
    with threadpool_limits(1):
        found = {name: build().fit(X, Y).predict(held) for name, build in make.items()}
    folds = random_folds(len(X), min(5, len(X) // 2), 0)
    seen, _ = out_of_fold(make, X, Y, np.ones(len(X)), folds, 1, lambda line: None)
    for stack, members in STACKS.items():
        weights = blend_weights({name: seen[name] for name in members}, Y)
        found[stack] = blended({name: found[name] for name in members}, weights)
    return found


def scored(predicted: Array, measured: Array) -> Array:
    """Rank correlation and relative error, each the mean over targets, (2,)."""
    return np.array([spearman(predicted, measured).mean(), (rmse(predicted, measured) / measured.std(axis=0)).mean()])


if __name__ == "__main__":
    main()
