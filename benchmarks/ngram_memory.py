"""Memory and time of n-gram counts at a real vocabulary and a hundred domains, on text that is drawn for it.

    python benchmarks/ngram_memory.py --domains 100 --targets 100 --tokens 25_000_000

Every domain's tokens are Zipfian over a vocabulary in an order of its own, half of them a function of the one before.
They are drawn into one file, a domain after the other, and counted by the code of the stage `ngram_models`, at most 20
million of a domain. Then the counts of all domains are loaded, and losses of many mixtures predicted. Seconds are CPU
time without the drawing; peaks are the process's own, with the pages of the mapped file.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.ngrams.counts import probabilities
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.ngrams.stage import COUNTED, sample
from regmix_pipeline.proxies.spec import TokenFile
from regmix_pipeline.proxies.windows import Windows

VOCABULARY, CONTEXT, MEASURED = 50_432, 2048, 64
BLOCK = 1 << 20


def main() -> None:
    """Count, load, predict; print seconds and peaks after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=100)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=25_000_000)
    parser.add_argument("--mixtures", type=int, default=10_000)
    asked = parser.parse_args()
    names = [f"d{number:03}" for number in range(asked.domains)]
    print(f"vocabulary {VOCABULARY:,}, {asked.domains} domains of {asked.tokens:,} tokens, {asked.targets} targets")
    said("imports", 0.0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started = time.process_time()
        samples = {}
        for number in range(asked.targets):
            file = drawn(folder / "target.ds", number % asked.domains, 10_000 + number, 1 << 20)
            samples[f"t{number:03}"] = sample(file, CONTEXT, MEASURED)
        said("samples drawn", time.process_time() - started)
        spent, files = 0.0, []
        for number, name in enumerate(names):
            text = drawn(folder / "train.ds", number, number, asked.tokens)
            held_out = sample(drawn(folder / "validation.ds", number, 20_000 + number, 1 << 20), CONTEXT, MEASURED)
            started = time.process_time()
            tables, k, counted = probabilities(Windows(text, CONTEXT).tokens, samples, held_out, VOCABULARY, COUNTED)
            files.append(folder / f"{name}.parquet")
            NgramEvidence((name,), {target: table[:, None] for target, table in tables.items()}).save(files[-1])
            spent += time.process_time() - started
            if number in (0, len(names) - 1):
                said(f"domain {number + 1} counted ({counted:,} tokens, k {k:g})", spent)
        started = time.process_time()
        evidence = NgramEvidence.load(*files)
        said("loaded", time.process_time() - started)
        started = time.process_time()
        mixtures = np.random.Generator(np.random.PCG64(0)).dirichlet(np.ones(len(names)), asked.mixtures)
        evidence.losses(mixtures, evidence.targets[:1])
        said(f"{asked.mixtures:,} mixtures predicted on one target", time.process_time() - started)


def drawn(path: Path, domain: int, seed: int, tokens: int) -> TokenFile:
    """A file of such tokens, written block by block."""
    order = np.random.Generator(np.random.PCG64(domain)).permutation(VOCABULARY).astype("<u2")
    chances = 1 / np.arange(1.0, VOCABULARY + 1)
    cumulative = np.cumsum(chances / chances.sum())
    generator = np.random.Generator(np.random.PCG64(seed + 1_000))
    with path.open("wb") as file:
        for start in range(0, tokens, BLOCK):
            size = min(BLOCK, tokens - start)
            ranks = np.searchsorted(cumulative, generator.random(size)).clip(max=VOCABULARY - 1)
            follows: NDArray[np.bool_] = generator.random(size) < 0.5
            follows[0] = False
            ranks[follows] = (ranks[np.flatnonzero(follows) - 1] * 7 + 1) % VOCABULARY
            file.write(order[ranks].tobytes())
    return TokenFile(path=path, dtype="uint16", tokens=tokens, version="drawn")


def said(what: str, seconds: float) -> None:
    """Print CPU seconds, and the most memory that the process held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:<50} {seconds:>8.1f} s {peak:>8,.0f} MB at most so far", flush=True)


if __name__ == "__main__":
    main()
