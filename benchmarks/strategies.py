"""Ways of choosing a mixture, compared on real text: the tables of docs/comparison.md.

    python benchmarks/strategies.py [STUDY] [--home FOLDER] [--data FOLDER] [--workers N]

Runs the study's comparison (default studies/bench.yaml, hours on two cores), prints its tables as Markdown, and writes
them as Parquet to benchmarks/results/strategies/. It may be killed at any moment: run it again and it goes on. Which
strategies there are says the study.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import written_atomically
from regmix_pipeline.numbers import decimals, signed
from regmix_pipeline.progress import clock
from regmix_pipeline.stages import TO_COMPARE
from regmix_pipeline.strategies.comparison.show import Row, correlation_rows, ranking_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "strategies"
TABLES = ("strategy_choices", "strategy_losses", "strategy_candidates")


def main() -> None:
    """Run what is missing, print the tables, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default=str(ROOT / "studies" / "bench.yaml"))
    parser.add_argument("--home")
    parser.add_argument("--data", default=str(ROOT / ".regmix" / "data"))
    parser.add_argument("--workers", type=int)
    parser.add_argument("--results", default=str(RESULTS))
    arguments = parser.parse_args()
    started = time.monotonic()
    workspace = Workspace(arguments.study, arguments.home, arguments.data, workers=arguments.workers)
    run_stale(workspace, TO_COMPARE, "benchmarks/strategies.py")
    result = workspace.json("strategy_comparison")
    print(f"## {workspace.study.description}\n")
    print(markdown(ranking_rows(result)))
    if result["candidates"] is not None:
        print(markdown(correlation_rows(result)))
        print("places on the target:", ", ".join(f"{name} {place}" for name, place in _places(result)), "\n")
    folder = Path(arguments.results)
    write_rows(workspace, folder)
    losses, choices = (pl.read_parquet(folder / f"strategy_{name}.parquet") for name in ("losses", "choices"))
    print(markdown(list(against_rows(losses, choices))))
    if result["candidates"] is not None:
        print(markdown(list(confirmed_rows(pl.read_parquet(folder / "strategy_candidates.parquet")))))
    workspace.say(f"took {clock(time.monotonic() - started)}, what was there before not counted")


def _places(result: dict) -> list[tuple[str, int]]:
    return sorted(result["candidates"]["places"].items(), key=lambda item: item[1])


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    headings = list(rows[0])
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def against_rows(losses: pl.DataFrame, choices: pl.DataFrame, ours: str = "ours") -> Iterator[Row]:
    """How much better ``ours`` is than each other strategy: losses of the same seed are compared, and the difference is
    given in standard errors over seeds, beside what the other one spent."""
    objective = (
        losses.filter(pl.col("target") == "objective").pivot("strategy", index="seed", values="loss").sort("seed")
    )
    spent = dict(choices.select("strategy", "flops").iter_rows())
    others = [name for name in objective.columns if name not in ("seed", ours)]
    for name in sorted(others, key=lambda name: float(objective[name].to_numpy().mean())):
        better = (objective[name] - objective[ours]).to_numpy()
        error = better.std(ddof=1) / len(better) ** 0.5
        yield {
            "against": name,
            "ours is better by, nats": signed(float(better.mean()), 4),
            "standard error": decimals(float(error), 4),
            "in standard errors": signed(float(better.mean() / error), 1),
            "its compute beside ours": f"{spent[name] / spent[ours]:.2f}",
        }


def confirmed_rows(candidates: pl.DataFrame) -> Iterator[Row]:
    """What proxies promised of each choice over the natural mixture, and what the target run made of it."""
    sizes = candidates.pivot("size", index=["mixture", "strategies"], values="objective")
    natural = sizes.filter(pl.col("strategies").str.split(", ").list.contains("natural")).to_dicts()[0]
    chosen = sizes.filter(pl.col("strategies") != "").sort("target")
    for row in chosen.to_dicts():
        if row["mixture"] != natural["mixture"]:
            by = {size: signed(row[size] - natural[size], 4) for size in ("regressor", "proxy", "target")}
            yield {
                "choice of": row["strategies"],
                "predicted of a proxy": by["regressor"],
                "measured with a proxy": by["proxy"],
                "measured with the target": by["target"],
            }


def write_rows(workspace: Workspace, folder: Path) -> None:
    """Write the current rows of the ledger's tables about strategies, a Parquet file each."""
    with read_ledger(workspace.ledger) as connection:
        for name in TABLES:
            with written_atomically(folder / f"{name}.parquet") as temporary:
                rows = f"select * exclude (version) from current_{name} order by all"
                connection.execute(f"copy ({rows}) to '{temporary}' (format parquet)")


if __name__ == "__main__":
    main()
