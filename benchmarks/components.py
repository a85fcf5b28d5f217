"""What else could say what a mixture's loss is before proxies are trained: trigrams, and a small model of each domain.

    python benchmarks/components.py STUDY [--repeat 2 6] [--shares 0.25 1] [--rows 8 12 16 24] [--draws 20]

The study must be decided and count n-grams; with `--repeat`, the variants of `benchmarks/ngrams.py` whose proxies
repeat their text so many times as often are run first. Every evidence gives each domain's probabilities of the targets'
tokens, which mixtures mix; the regressors of n-gram counts are fitted with each, and judged on mixtures that were not
used.

A model of a domain is a proxy that sees this domain alone, for a share of a proxy's tokens, out of the windows that a
proxy may see: with a share of 0.25 it repeats them as often as a proxy does whose weight of the domain is 0.25. The
models of all domains cost share x domains proxies; how many is printed.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch  # noqa: TID253  (a benchmark may)
from ngrams import Array, Study, repeating, scored
from threadpoolctl import threadpool_limits

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.ngrams.counts import SMOOTHING, Numbers, probabilities
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.ngrams.stage import sample
from regmix_pipeline.proxies.evaluate import load_proxy
from regmix_pipeline.proxies.loss import token_losses
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.tasks import (
    available_windows,
    proxy_seed,
    proxy_specs,
    split_file,
    target_files,
    training_files,
)
from regmix_pipeline.proxies.windows import Windows
from regmix_pipeline.proxies.workers.choose import executor_of
from regmix_pipeline.regression.catalogue import regressor
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.stages import up_to
from regmix_pipeline.tokens.stage import current_manifest

JUDGED = {"line": "ngrams", "process": "ngrams_process"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--repeat", type=int, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.25, 1.0])
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 12, 16, 24])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    for factor in asked.repeat:
        with repeating(asked.study, factor, asked.count) as path:
            run_stale(Workspace(path, workers=asked.workers), up_to(REGRESSOR))
            judge(Workspace(path, workers=asked.workers), asked)
    if not asked.repeat:
        judge(Workspace(asked.study, home=asked.home, workers=asked.workers), asked)


def judge(workspace: Workspace, asked: argparse.Namespace) -> None:
    """Print how well each evidence predicts a decided study's proxies."""
    study = Study.of(workspace)
    evidence = {"bigrams": study.evidence, "trigrams": trigrams(workspace, study)}
    for share in asked.shares:
        cost = share * len(study.domains)
        print(f"a model of each domain, {share:g} of a proxy's tokens: as much as {cost:.1f} proxies")
        models = components(workspace, study, share)
        evidence |= {f"models {share:g}": models, f"models {share:g} + bigrams": both(models, study.evidence)}
    report(study, evidence, asked.rows, asked.draws)


def samples_of(workspace: Workspace, study: Study) -> dict[str, Numbers]:
    """Target with weight -> the pieces of its text that counts predict, (pieces, length + 1)."""
    context, measured = workspace.study.proxies.model_settings.context, workspace.study.proxies.evaluation.windows
    files = target_files(workspace)
    return {name: sample(files[name], context, measured) for name in study.objective}


def trigrams(workspace: Workspace, study: Study) -> NgramEvidence:
    """p(c | a, b) = (n(a, b, c) + k p(c | b)) / (n(a, b) + k); a domain's held-out text chooses the weight k.

    The first token of each piece has no two tokens before it, and keeps the probability of its bigram.
    """
    files, samples = training_files(workspace), samples_of(workspace, study)
    context, measured = workspace.study.proxies.model_settings.context, workspace.study.proxies.evaluation.windows
    vocabulary = current_manifest(workspace, workspace.domains[0]).vocabulary
    columns: dict[str, list[Array]] = defaultdict(list)
    for number, name in enumerate(study.domains):
        text = np.asarray(Windows(files[name], context).tokens, dtype=np.int64)
        held = sample(split_file(workspace, name, "validation")[0], context, measured)
        pairs = probabilities(text, {name: held}, held, vocabulary, len(text))[0][name]
        triples = Triples(text, vocabulary)
        k = min(SMOOTHING, key=lambda each: -float(np.log(triples.given(held, pairs, each)).mean()))
        for target, pieces in samples.items():
            lower = study.evidence.probabilities[target][:, number]
            columns[target].append(triples.given(pieces, lower, k))
    return NgramEvidence(study.domains, {name: np.column_stack(found) for name, found in columns.items()})


class Triples:
    """How often tokens follow two others in a text, (tokens,)."""

    def __init__(self, text: Numbers, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        pairs = text[:-1] * vocabulary + text[1:]
        self._pairs, self._triples = Counted(pairs), Counted(pairs[:-1] * vocabulary + text[2:])

    def given(self, pieces: Numbers, lower: Array, k: float) -> Array:
        """Probabilities of the tokens of pieces, from those that their bigrams give, (pieces x length,)."""
        found = lower.reshape(len(pieces), -1).copy()
        pairs = pieces[:, :-2] * self._vocabulary + pieces[:, 1:-1]
        joint = self._triples.of(pairs * self._vocabulary + pieces[:, 2:])
        found[:, 1:] = (joint + k * found[:, 1:]) / (np.maximum(self._pairs.of(pairs), joint) + k)
        return found.ravel()


class Counted:
    """How often codes occur."""

    def __init__(self, codes: Numbers) -> None:
        self._codes, self._counts = np.unique(codes, return_counts=True)

    def of(self, codes: Numbers) -> Numbers:
        """The counts of some codes, of their shape."""
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[place] == codes, self._counts[place], 0)


def components(workspace: Workspace, study: Study, share: float) -> NgramEvidence:
    """Probabilities that a model of each domain gives the targets' tokens; models that are missing are trained."""
    proxies, files = workspace.study.proxies, training_files(workspace)
    model, whole = proxies.model_settings, proxies.training_settings
    training = whole.model_copy(update={"tokens": round(whole.tokens * share)})
    alone = {name: Mixture.from_weights({name: 1.0}) for name in study.domains}
    seeds = {name: [proxy_seed(workspace, 0)] for name in alone}
    windows = available_windows(workspace, files, whole.tokens, model.context)
    specs = {
        name: found.model_copy(update={"available_windows": {name: windows[name]} if windows else {}})
        for name, (found,) in proxy_specs(workspace, alone, model, training, seeds, "components").items()
    }
    for result in executor_of(workspace).run(specs.values()):
        if result.error is not None:
            raise result.error
    columns = [predicted(specs[name], samples_of(workspace, study)) for name in study.domains]
    return NgramEvidence(
        study.domains, {name: np.column_stack([each[name] for each in columns]) for name in study.objective}
    )


@torch.no_grad()
def predicted(spec: ProxySpec, samples: Mapping[str, Numbers]) -> dict[str, Array]:
    """Target -> probabilities of its pieces' tokens by a model, (pieces x length,)."""
    model = load_proxy(spec.output, torch.device("cpu"))
    found = {}
    for name, pieces in samples.items():
        rows = torch.from_numpy(pieces)
        losses = token_losses(model(rows[:, :-1]), model.head, rows[:, 1:].reshape(-1))
        found[name] = np.exp(-losses.double().numpy())
    return found


def both(one: NgramEvidence, other: NgramEvidence) -> NgramEvidence:
    """The mean of two kinds' probabilities."""
    return NgramEvidence(
        one.domains, {name: (one.probabilities[name] + other.probabilities[name]) / 2 for name in one.targets}
    )


def report(study: Study, evidence: Mapping[str, NgramEvidence], asked: list[int], draws: int) -> None:
    """Print rank and error on mixtures that were not used, by evidence and number of proxies."""
    print(f"{study.name}: {len(study.weights)} mixtures, {draws} draws each; rank / error over the losses' deviation")
    print(f"{'evidence':<24}{'fitted':<9}" + "".join(f"{f'{rows} proxies':>15}" for rows in asked))
    generator = np.random.Generator(np.random.PCG64(0))
    orders = [generator.permutation(len(study.weights)) for _ in range(draws)]
    for name, each in {"none": None, **evidence}.items():
        for said, fitted in {"process": "gaussian_process"}.items() if each is None else JUDGED.items():
            cells = []
            for rows in asked:
                scores = []
                for order in orders:
                    seen, held = order[:rows], order[rows:]
                    given = [] if each is None else [study.epochs, each]
                    with threadpool_limits(1):
                        law = regressor(fitted, *given).fit(study.weights[seen], study.losses[seen])
                        scores.append(scored(law.predict(study.weights[held]), study.losses[held]))
                rank, error = np.mean(scores, axis=0)
                cells.append(f"{f'{rank:.3f} / {error:.2f}':>15}")
            print(f"{name:<24}{said:<9}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
