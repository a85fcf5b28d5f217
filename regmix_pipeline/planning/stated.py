"""Rates that are stated where nothing is measured: one place, each with where it comes from.

"Two cores" below is the machine of docs/benchmarks.md.
"""

from __future__ import annotations

ORCHESTRATION_SECONDS = 0.028
"""Per proxy: staleness, Dagster's events, records, tables, of both its stages. From benchmarks/orchestration.py, 1,000
proxies."""
STAGE_SECONDS = 0.3
"""Per stage that has anything to do: a Dagster run, its checks, the ledger. From benchmarks/plan.py on two cores."""
BEGINNING_SECONDS = 3.0
"""Once a run: imports, the definitions, Dagster's instance."""
TASK_SECONDS = 0.002
"""Per task given to a worker and its answer read."""
WORKER_STARTUP = {"cpu": 2.0, "cuda": 45.0}
"""Of a worker process: torch; on CUDA also the model's compilation, of which nothing was measured."""
WRITING_SECONDS = 0.03
"""Per model recorded: writing it, which its own clock does not count."""
MODEL_OVERHEAD = 0.2
"""Per model: windows, weights, writing."""
EVALUATION_OVERHEAD = 0.03
"""Per final loss: the model is loaded for each."""
TOKENISE_MB_PER_CORE = 2.0
"""MB of text a core reads, splits and tokenises in a second: the demo's shards on two cores."""
TRAIN_TOKENIZER_SECONDS_PER_MB = 0.4
"""Seconds to train a tokenizer on a MB of text: the demo's."""
OBSERVE_MB = 1_000.0
"""MB a second that documents are hashed at."""
READING_SECONDS = 1.5
"""Once: importing the reader and the tokenizer."""
BYTES_PER_TOKEN = 4.2
"""UTF-8 bytes a token represents, English text and a vocabulary of 50,000."""
COMPRESSION = {".zst": 3.0, ".gz": 2.8, ".parquet": 2.2}
"""Bytes of text in a byte on disk."""
SMALL_STAGES_SECONDS = {
    "domains": 0.0,
    "domain_inventory": 0.05,
    "text_checks": 0.5,
    "ngram_models": 10.0,
    "earlier_runs": 0.05,
    "imported_runs": 0.1,
    "mixture_decision": 0.3,
    "mixture_report": 0.5,
}
"""Stages that take about the same whatever the study: the demo's."""


def mixtures_seconds(count: int, oversample: int, domains: int) -> float:
    """Sampling: draws are made in blocks of 4096 and de-duplicated."""
    draws = max(4096, count * oversample)
    return 0.05 + draws * domains * 3e-7


def regressor_seconds(rows: int, domains: int, targets: int, regressors: int, workers: int) -> float:
    """Fitting and choosing: core seconds of regression.fitting.fit on made-up losses, over the cores.

    Fitted by hand to fits of 12 to 1024 rows, 9 to 100 domains and 1 to 4 targets with the eight default regressors.
    """
    grows = rows / 66
    one = 0.6 + 0.4 * grows + (0.15 + 0.75 * grows**0.95) * (domains / 9) ** 0.9 * targets
    # Folds and regressors are spread over the cores: some forty jobs.
    return 3.0 + one * regressors / 8 / min(max(workers, 1), 16)


def search_seconds(candidates: int, domains: int) -> float:
    """The search, and the proposals after it: on the demo's scale seconds."""
    return 0.8 + candidates * domains * 1.5e-7


PROPOSAL_SECONDS = 1.2
"""The further mixtures: a joint belief about 1,200 candidates, and 24 bootstrapped laws."""
