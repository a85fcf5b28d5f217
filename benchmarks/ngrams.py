"""What n-gram counts are worth beside trained proxies, against the number of proxies: rank and error on mixtures not
used, regret, calibration, and how often counts are trusted.

    python benchmarks/ngrams.py studies/demo.yaml --rows 4 8 12 16 24 32
    python benchmarks/ngrams.py studies/demo.yaml --repeat 2 6
    python benchmarks/ngrams.py studies/demo.yaml --larger --rows 4 8 12
    python benchmarks/ngrams.py studies/demo.yaml --arrivals 0 2 4 8 12
    python benchmarks/ngrams.py studies/bench.yaml --home HOME --choices 3

The study must be decided (`regmix run`). Mixtures are drawn at random from the measured ones; the regressors are fitted
to their losses and judged on the others. No model is trained, but for ``--repeat``: variants of the study with
``--count`` sampled mixtures, whose proxies repeat their text so many times as often, are run first, each in a home of
its own. ``--larger``: a variant with 16 sampled mixtures is, whose proxies are the preset `demo-large`.

``--arrivals``: each domain in turn is the one that has just arrived. Mixtures without it are the earlier runs, and so
many with it are trained; the regressors are judged on the others with it. Domains that too few mixtures lack are left
out. A variant of the study with 64 sampled mixtures and a larger `mixtures.minimum`, which lack more domains, is run
first.

``--choices``: so many times 64 sampled mixtures, each time of another seed, are those that `benchmarks/choices.py
--budgets 64 --ways ours_one_shot` trains in its home; each time is judged for itself.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from choices import prepared
from numpy.typing import NDArray
from strategies import ROOT
from threadpoolctl import threadpool_limits

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.ngrams.stage import ngram_evidence
from regmix_pipeline.regression.blend import blend_weights, blended
from regmix_pipeline.regression.catalogue import NGRAMS, regressor
from regmix_pipeline.regression.cross_validation import out_of_fold
from regmix_pipeline.regression.folds import random_folds
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw
from regmix_pipeline.regression.metrics import rmse, spearman
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.regression.training_data import loss_table
from regmix_pipeline.regression.trust import trust, trusted
from regmix_pipeline.stages import up_to
from regmix_pipeline.strategies.methods.experiments import loss_table as arena_losses
from regmix_pipeline.strategies.methods.ours import OneShot
from regmix_pipeline.strategies.trained.arena import TrainedArena
from regmix_pipeline.study.settings.regression import TrustSettings

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
ALONE = ("saturation", "gaussian_process")
COMPARED = (*ALONE, "ngrams", "ngrams_process")
EARLIER, JUDGED = 12, 8
"""Mixtures without a domain, and with it beside the most that are trained, that are needed to judge its arrival."""
STACKS = {"stack without counts": ALONE, "stack with counts": COMPARED}
WIDTH = max(map(len, (*COMPARED, *STACKS)))
COVERED, DEVIATIONS = 0.8, 1.2816
"""Share of losses that intervals of so many deviations to each side should hold."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 8, 12, 16, 24, 32])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--repeat", type=int, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--larger", action="store_true")
    parser.add_argument("--arrivals", type=int, nargs="*", default=[])
    parser.add_argument("--choices", type=int, default=0)
    parser.add_argument("--data", default=str(ROOT / ".regmix" / "data"))
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    if asked.choices:
        workspace = prepared(str(asked.study), asked.home, asked.data, asked.workers)
        report([Study.sampled(workspace, seed) for seed in range(asked.choices)], asked.rows, asked.draws)
        return
    if asked.arrivals:
        with lacking_domains(asked.study) as lacking:
            run_stale(Workspace(lacking, home=asked.home, workers=asked.workers), up_to(REGRESSOR))
            report_arrivals(Workspace(lacking, home=asked.home, say=lambda line: None), asked.arrivals, asked.draws)
        return
    variants = [repeating(asked.study, factor, asked.count) for factor in asked.repeat]
    for each in [*variants, *([larger(asked.study)] if asked.larger else [])]:
        with each as path:
            run_stale(Workspace(path, workers=asked.workers), up_to(REGRESSOR))
            report([Study.of(Workspace(path, say=lambda line: None))], asked.rows, asked.draws)
    if not asked.repeat and not asked.larger:
        report([Study.of(Workspace(asked.study, home=asked.home, say=lambda line: None))], asked.rows, asked.draws)


@contextmanager
def variant(study: Path, suffix: str, **changed: dict[str, Any]) -> Iterator[Path]:
    """A variant of a study that ends with its decision: name -> what is different in that part of the file."""
    settings = yaml.safe_load(study.read_text())
    settings["name"] = f"{settings['name']}{suffix}"
    for name, change in changed.items():
        settings[name] = settings[name] | change
    settings.pop("confirmation", None)
    path = study.with_name(f"{settings['name']}.yaml")
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    try:
        yield path
    finally:
        path.unlink()


def repeating(study: Path, factor: int, count: int) -> AbstractContextManager[Path]:
    """A variant whose large run, and so its proxies, repeat the text ``factor`` times as often."""
    limits = yaml.safe_load(study.read_text())["limits"]
    more = {name: limits[name] * factor for name in ("target_tokens", "max_epochs")}
    return variant(study, f"_repeats_{factor}", limits=more, mixtures={"count": count, "rounds": {"number": 1}})


def larger(study: Path) -> AbstractContextManager[Path]:
    """A variant whose proxies have four times the demo's parameters and tokens."""
    proxies = {"preset": "demo-large", "noise": {"mixtures": 0}, "training": {}}
    return variant(study, "_larger", proxies=proxies, mixtures={"count": 16, "rounds": {"number": 1}})


def lacking_domains(study: Path) -> AbstractContextManager[Path]:
    """A variant whose mixtures lack several domains each, so that each of them can be the one that arrives."""
    mixtures: dict[str, object] = {"count": 64, "rounds": {"number": 1}, "minimum": 0.02}
    return variant(study, "_lacking", mixtures=mixtures)


@dataclass(frozen=True)
class Study:
    """Measured mixtures, losses of the targets with weight, and what counts predict of them.

    Attributes:
        name: of the study.
        domains: columns of the weights.
        objective: targets with weight, columns of the losses.
        evidence: n-gram counts over both.
        weights: (n, d).
        losses: nats per token, (n, T).
        shares: of the targets in the objective, summing to 1, (T,).
        epochs: of each domain at weight 1, for all rows or for each; None where nothing is known.
        floors: that counts have to pass.
    """

    name: str
    domains: tuple[str, ...]
    objective: list[str]
    evidence: NgramEvidence
    weights: Array
    losses: Array
    shares: Array
    epochs: list[Any] | None
    floors: TrustSettings

    @classmethod
    def of(cls, workspace: Workspace) -> Study:
        """A decided study's own proxies."""
        table, objective = loss_table(workspace), list(workspace.study.objective)
        return cls(
            workspace.study.name,
            tuple(table.domains),
            objective,
            counted(workspace, ngram_evidence(workspace), table.domains, objective),
            table.weights,
            table.losses[:, [workspace.targets.index(name) for name in objective]],
            np.array(list(workspace.study.objective.values())),
            None if table.epochs is None else table.epochs.proxies.tolist(),
            workspace.study.regression.trust,
        )

    @classmethod
    def sampled(cls, workspace: Workspace, seed: int) -> Study:
        """64 proxies of mixtures that are sampled at once for a comparison's arena; trains what is missing."""
        arena = TrainedArena(workspace, "choices")
        weights, losses, objective = arena_losses(arena, OneShot().trained(arena, 64, seed))
        return cls(
            f"{workspace.study.name}, choice {seed}",
            arena.domains,
            objective,
            counted(workspace, arena.counted, arena.domains, objective),
            weights,
            losses,
            np.array(list(workspace.study.objective.values())),
            None if arena.epochs is None else arena.epochs.tolist(),
            workspace.study.regression.trust,
        )

    def judged(self, seen: Rows, held: Rows) -> tuple[dict[str, Array], bool]:
        """Regressor -> its `scored` on mixtures held back, its regret among them and the share of their losses that its
        intervals hold, (4,); and whether counts are trusted."""
        X, Y, measured = self.weights[seen], self.losses[seen], self.losses[held]
        found, deviations = predictions(X, Y, self.weights[held], self.evidence, self.epochs)
        scores = {}
        for name, predicted in found.items():
            inside = np.abs(predicted - measured) <= DEVIATIONS * deviations[name] if name in deviations else np.nan
            lost = regret(predicted @ self.shares, measured @ self.shares)
            scores[name] = np.array([*scored(predicted, measured), lost, np.mean(inside)])
        return scores, trusted(trust(X, Y, self.evidence, self.floors, self.epochs))

    def head(self, first: str) -> None:
        """Say what the rows of the table are."""
        print("Spearman correlation / root mean square error over the losses' deviation, mean over draws of the mean")
        print(f"over the targets with weight ({', '.join(self.objective)}); trusted: share of draws")
        print(f"{first:>8}  " + "  ".join(f"{name:>{WIDTH}}" for name in (*COMPARED, *STACKS)) + "  trusted")


def counted(
    workspace: Workspace, evidence: NgramEvidence | None, domains: Sequence[str], objective: list[str]
) -> NgramEvidence:
    """The evidence over these domains and targets."""
    known = None if evidence is None else evidence.over(domains, objective)
    if known is None:
        raise SystemExit(
            f"{workspace.study.name}: nothing was counted; run the study with a regressor of n-gram counts"
        )
    return known


def regret(predicted: Array, measured: Array) -> float:
    """What the mixture of the lowest prediction loses of the best one's gain over the mean of all, (m,)."""
    best, mean = measured.min(), measured.mean()
    return float((measured[predicted.argmin()] - best) / (mean - best))


def row(first: object, scores: dict[str, list[Array]], relied: Sequence[bool]) -> None:
    """Print a row of the table."""
    cells = [f"{np.mean(scores[name], axis=0)[0]:.3f} / {np.mean(scores[name], axis=0)[1]:.2f}" for name in scores]
    print(f"{first:>8}  " + "  ".join(f"{cell:>{WIDTH}}" for cell in cells) + f"  {np.mean(relied):>7.0%}", flush=True)


def report(studies: Sequence[Study], asked_rows: Sequence[int], draws: int) -> None:
    """Print a table, the mean over studies."""
    for study in studies:
        print(f"{study.name}: {len(study.weights)} mixtures, {len(study.domains)} domains, {draws} draws each")
    studies[0].head("rows")
    further = []
    generator = np.random.Generator(np.random.PCG64(0))
    for rows in (each for each in asked_rows if each < min(len(study.weights) for study in studies) - 2):
        scores: dict[str, list[Array]] = defaultdict(list)
        relied = []
        for study in (study for study in studies for _ in range(draws)):
            order = generator.permutation(len(study.weights))
            found, trusts = study.judged(order[:rows], order[rows:])
            relied.append(trusts)
            for name, each in found.items():
                scores[name].append(each)
        row(rows, scores, relied)
        further.append((rows, {name: np.mean(each, axis=0)[2:] for name, each in scores.items()}))
    print(
        "what the mixture predicted best loses of the best one's gain over the mean of those not used / share of their"
    )
    print(f"losses in intervals that should hold {COVERED:.0%}")
    print(f"{'rows':>8}  " + "  ".join(f"{name:>{WIDTH}}" for name in (*COMPARED, *STACKS)))
    for rows, found in further:
        cells = [f"{lost:.0%}" + ("" if np.isnan(held) else f" / {held:.0%}") for lost, held in found.values()]
        print(f"{rows:>8}  " + "  ".join(f"{cell:>{WIDTH}}" for cell in cells))


def report_arrivals(workspace: Workspace, asked: Sequence[int], draws: int) -> None:
    """Print how well mixtures with a domain are predicted that has just arrived, over all domains."""
    study = Study.of(workspace)
    arriving = {}
    for number, domain in enumerate(study.domains):
        without = study.weights[:, number] == 0
        if without.sum() >= EARLIER and (~without).sum() >= max(asked) + JUDGED:
            arriving[domain] = np.flatnonzero(without), np.flatnonzero(~without)
    if not arriving:
        raise SystemExit(f"{study.name}: no domain is lacking in {EARLIER} mixtures")
    print(f"{study.name}: arrivals of {', '.join(arriving)}, {draws} draws each")
    study.head("trained")
    for count in asked:
        scores: dict[str, list[Array]] = defaultdict(list)
        relied = []
        for before, after in arriving.values():
            generator = np.random.Generator(np.random.PCG64(0))
            for _ in range(draws):
                order = generator.permutation(after)
                found, trusts = study.judged(np.concatenate([before, order[:count]]), order[max(asked) :])
                relied.append(trusts)
                for name, each in found.items():
                    scores[name].append(each)
        row(count, scores, relied)


def predictions(
    X: Array, Y: Array, held: Array, evidence: NgramEvidence, epochs: list[float] | None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Regressor -> predictions for mixtures held back, (m, T); and of processes the deviations of a new measurement."""
    make = {name: partial(regressor, name, *([epochs, evidence] if name in NGRAMS else [])) for name in COMPARED}
    with threadpool_limits(1):
        fitted = {name: build().fit(X, Y) for name, build in make.items()}
        found = {name: each.predict(held) for name, each in fitted.items()}
        deviations = {
            name: each.standard_deviation(held) for name, each in fitted.items() if isinstance(each, GaussianProcessLaw)
        }
    folds = random_folds(len(X), min(5, len(X) // 2), 0)
    seen, _ = out_of_fold(make, X, Y, np.ones(len(X)), folds, 1, lambda line: None)
    for stack, members in STACKS.items():
        weights = blend_weights({name: seen[name] for name in members}, Y)
        found[stack] = blended({name: found[name] for name in members}, weights)
    return found, deviations


def scored(predicted: Array, measured: Array) -> Array:
    """Rank correlation and relative error, each the mean over targets, (2,)."""
    return np.array([spearman(predicted, measured).mean(), (rmse(predicted, measured) / measured.std(axis=0)).mean()])


if __name__ == "__main__":
    main()
