"""How good the mixtures are that strategies choose with few proxies and with many, each choosing several times.

    python benchmarks/choices.py [STUDY] [--ways ours regmix ...] [--budgets 8 16 32 64] [--choices 3]
        [--target-seeds 1] [--finalists 0 --finalist-seeds 3] [--minutes M] [--out FILE] [--beside FILE ...]
        [--picture FILE]

Every strategy chooses `--choices` times within each budget, each time with mixtures and proxies of another seed. All
choices and the natural mixture are then trained as target runs with the same seeds; the `--finalists` best of each
budget get more of them. Printed for every strategy and budget: the objective's mean over choices, with its standard
error over them; the deviation between choices; the regret against the best mixture that any strategy chose; compute, in
proxies. Where several target seeds were trained, the deviation between them is printed below.

The study (default studies/bench.yaml) gives data, models and limits; its own proxies are not trained. How long it takes
at most is printed first. Killed at any moment, it goes on; after `--minutes` it starts no further budget, and prints
what there is. What a strategy chose is kept in the study's home. With `--beside`, choices that earlier runs on the same
study wrote with `--out` are shown in the same table and picture, and regret is against the best of all; `--budgets`
without a number shows these alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from strategies import ROOT, markdown

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.files import written_atomically
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.ngrams.stage import NGRAM_MODELS
from regmix_pipeline.planning.here import speeds_here
from regmix_pipeline.planning.rates import Workers
from regmix_pipeline.planning.work import Comparison, works_of
from regmix_pipeline.progress import clock
from regmix_pipeline.proxies.tasks import proxy_seed
from regmix_pipeline.proxies.workers.local import default_workers
from regmix_pipeline.search.region import natural_inside
from regmix_pipeline.stages import DOMAIN_INVENTORY, STAGES, STRATEGY_COMPARISON, behind
from regmix_pipeline.strategies.comparison.compared import let_choose, objective_of
from regmix_pipeline.strategies.comparison.job import Asked, load_finished
from regmix_pipeline.strategies.trained.arena import FINAL_SEED, TrainedArena

WAYS = ("ours", "ours_without_counts", "ours_one_shot")
NATURAL = Asked("natural", 0)


@dataclass
class Chosen:
    """A choice, and the objective of its target runs.

    Attributes:
        asked: whose, within what budget, with which seed.
        mixture: it; None where the strategy steers the run.
        spent: by choosing, in proxies.
        losses: the weighted loss of each target run, nats per token.
    """

    asked: Asked
    mixture: Mixture | None
    spent: float
    losses: list[float] = field(default_factory=list)


def prepared(study: str, home: str | None, data: str, workers: int | None) -> Workspace:
    """The study on disk with all that an arena needs."""
    workspace = Workspace(study, home, data, workers=workers)
    ends = (DOMAIN_INVENTORY, NGRAM_MODELS)
    needed = {*ends, *(stage for end in ends for stage in behind(end))}
    run_stale(workspace, [stage for stage in STAGES if stage in needed], "benchmarks/choices.py")
    return STRATEGY_COMPARISON.view(workspace)


def how_long(workspace: Workspace, arena: TrainedArena, asked: Sequence[Asked], seeds: int) -> str:
    """What is to be trained at most, and how long that takes here."""
    study = workspace.study
    workers = workspace.workers or study.proxies.workers or default_workers()
    left = [each for each in asked if load_finished(arena, each) is None]
    proxies = sum(each.proxies for each in left if getattr(each.made(arena), "trains", True))
    wanted: dict[str, int] = {Comparison.PROXIES: proxies, Comparison.TARGETS: (len(asked) + 1) * seeds}
    works = [replace(work, models=wanted[work.what]) for work in works_of(study) if wanted.get(work.what)]
    trainers = Workers(workers, speeds_here(study, tuple(works), workspace, workers, workspace.say))
    seconds = sum(trainers.training(work, work.models) + trainers.measuring(work, work.models) for work in works)
    return (
        f"at most {proxies} proxies and {wanted[Comparison.TARGETS]} target runs, each of "
        f"{arena.target.flops / arena.proxy.flops:.0f} proxies' FLOPs: {clock(seconds)} with {workers} workers; fits "
        "are not counted, target runs that are there already are"
    )


def chosen(arena: TrainedArena, asked: Iterable[Asked]) -> Iterator[Chosen]:
    """The choices that are there, and the runs that they steered."""
    for each in asked:
        there = load_finished(arena, each)
        if there is not None:
            kept, runs = there
            spent = kept.account.flops / arena.proxy.flops
            yield Chosen(each, kept.mixture, spent, [objective_of(run.losses, arena.objective) for run in runs])


def train(arena: TrainedArena, choices: Sequence[Chosen], seeds: int) -> None:
    """Target runs of choices that are one mixture, entered in their losses; equal mixtures share them."""
    numbers = [FINAL_SEED + proxy_seed(arena.workspace, number) for number in range(seeds)]
    specs = [
        (each, [arena.spec(each.mixture, arena.target, number, confirmed=True) for number in numbers])
        for each in choices
        if each.mixture is not None
    ]
    measured = arena.measured([spec for _, group in specs for spec in group], "target")
    for each, group in specs:
        each.losses = [objective_of(measured[spec.id], arena.objective) for spec in group]


def finalists(choices: Sequence[Chosen], count: int) -> list[Chosen]:
    """The choices of the best strategies of each budget."""
    found: list[Chosen] = []
    for budget in sorted({each.asked.proxies for each in choices}):
        of_budget = [each for each in choices if each.asked.proxies == budget and each.losses]
        mean = {
            name: float(np.mean([each.losses[0] for each in of_budget if each.asked.strategy == name]))
            for name in {each.asked.strategy for each in of_budget}
        }
        best = sorted(mean, key=lambda name: mean[name])[:count]
        found += [each for each in of_budget if each.asked.strategy in best]
    return found


def rows_of(choices: Sequence[Chosen]) -> pl.DataFrame:
    """A row a choice; the objective is that of the first seed, which all have."""
    return pl.DataFrame(
        [
            {
                "strategy": each.asked.strategy,
                "budget": each.asked.proxies,
                "seed": each.asked.seed,
                "proxies": each.spent,
                "mixture": each.mixture.id if each.mixture else None,
                "objective": each.losses[0],
                "seeds": each.losses,
            }
            for each in choices
            if each.losses
        ]
    )


def with_earlier(rows: Sequence[pl.DataFrame], files: Sequence[Path]) -> pl.DataFrame:
    """The rows, and those of earlier runs; of a choice that occurs twice, the first."""
    every = pl.concat([*rows, *(pl.read_parquet(file) for file in files)], how="vertical_relaxed")
    return every.unique(["strategy", "budget", "seed"], keep="first", maintain_order=True)


def table(rows: pl.DataFrame) -> Iterator[dict[str, str]]:
    """A line for each strategy and budget, the best of each budget first; natural last."""
    best = float(rows["objective"].to_numpy().min())
    means = rows.group_by("strategy", "budget").agg(pl.col("objective").mean().alias("mean"))
    ordered = rows.join(means, on=["strategy", "budget"]).sort(
        "budget", "mean", "seed", descending=[True, False, False]
    )
    for (name, budget), some in ordered.group_by("strategy", "budget", maintain_order=True):
        found = some["objective"].to_numpy()
        spread = float(found.std(ddof=1)) if len(found) > 1 else None
        yield {
            "strategy": str(name),
            "budget": str(budget or ""),
            "choices": str(len(found)),
            "proxies": f"{some['proxies'].mean():.0f}",
            "objective": f"{found.mean():.4f}" + ("" if spread is None else f" ± {spread / len(found) ** 0.5:.4f}"),
            "between choices": "" if spread is None else f"{spread:.4f}",
            "regret": f"{found.mean() - best:.4f}",
        }


def between_seeds(rows: pl.DataFrame) -> float | None:
    """Deviation between target runs of one choice after what a seed does to all choices is taken out."""
    several = [np.array(seeds) for seeds in rows["seeds"].to_list()]
    most = max(map(len, several))
    several = np.array([each for each in several if len(each) == most and most > 1])
    if len(several) < 2:
        return None
    rest = several - several.mean(axis=0) - several.mean(axis=1, keepdims=True) + several.mean()
    return float(np.sqrt((rest**2).sum() / ((len(several) - 1) * (most - 1))))


def draw(rows: pl.DataFrame, path: Path) -> None:
    """Regret against compute, a line for each strategy, as PNG; by Chromium."""
    import plotly.graph_objects as go
    from pictures import browser_of
    from playwright.sync_api import sync_playwright

    best = float(rows["objective"].to_numpy().min())
    figure = go.Figure()
    trained = rows.filter(pl.col("budget") > 0)
    for (name,), some in trained.group_by("strategy", maintain_order=True):
        by_budget = some.group_by("budget").agg(
            pl.col("proxies").mean(), pl.col("objective").mean(), pl.col("objective").std().alias("spread"), pl.len()
        )
        by_budget = by_budget.sort("budget")
        error = (by_budget["spread"] / by_budget["len"] ** 0.5).fill_null(0).to_list()
        figure.add_scatter(
            x=by_budget["proxies"].to_list(),
            y=(by_budget["objective"] - best).to_list(),
            error_y={"array": error},
            name=str(name),
            mode="lines+markers",
        )
    natural = rows.filter(pl.col("budget") == 0)["objective"].to_numpy()
    if len(natural):
        figure.add_hline(y=float(natural.mean()) - best, line_dash="dot", annotation_text="natural")
    figure.update_layout(
        xaxis={"title": "compute, in proxies", "type": "log", "tickvals": sorted(trained["budget"].unique())},
        yaxis={"title": "regret of the target run, nats per token", "rangemode": "tozero"},
        template="plotly_white",
        margin={"t": 20},
        width=900,
        height=460,
    )
    with sync_playwright() as playwright, written_atomically(path) as temporary:
        browser = browser_of(playwright)
        page = browser.new_page(viewport={"width": 920, "height": 480})
        page.set_content(figure.to_html(include_plotlyjs=True))
        page.wait_for_selector("svg.main-svg")
        temporary.write_bytes(page.screenshot())
        browser.close()


def measured(given: argparse.Namespace) -> pl.DataFrame:
    """Let the strategies choose, train what they chose, and write it to `--out`."""
    started = time.monotonic()
    try:
        workspace = prepared(given.study, given.home, given.data, given.workers)
        arena = TrainedArena(workspace, "choices")
        asked = [
            Asked(name, budget, seed, given.target_seeds)
            for budget in given.budgets
            for seed in range(given.choices)
            for name in given.ways
        ]
        workspace.say(how_long(workspace, arena, asked, given.target_seeds))
        choices = [Chosen(NATURAL, natural_inside(arena.prior, arena.limits), 0.0)]
        train(arena, choices, given.target_seeds)
        for budget in given.budgets:
            if given.minutes is not None and time.monotonic() - started > 60 * given.minutes:
                break
            within = [each for each in asked if each.proxies == budget]
            let_choose(workspace, arena, within)
            found = list(chosen(arena, within))
            train(arena, found, given.target_seeds)
            choices += found
        if given.finalists:
            train(arena, finalists(choices[1:], given.finalists), given.finalist_seeds)
    except RegmixError as error:
        raise SystemExit(f"error: {error}") from None
    workspace.say(f"took {clock(time.monotonic() - started)}, what was there before not counted")
    rows = rows_of(choices)
    if given.out:
        with written_atomically(given.out) as temporary:
            rows.write_parquet(temporary)
    return rows


def main() -> None:
    """Choose, train what was chosen, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default=str(ROOT / "studies" / "bench.yaml"))
    parser.add_argument("--home")
    parser.add_argument("--data", default=str(ROOT / ".regmix" / "data"))
    parser.add_argument("--ways", nargs="+", metavar="NAME", default=WAYS)
    parser.add_argument("--budgets", nargs="*", type=int, default=[64, 32], help="none: only show what is given beside")
    parser.add_argument("--choices", type=int, default=3)
    parser.add_argument("--target-seeds", type=int, default=1)
    parser.add_argument("--finalists", type=int, default=0)
    parser.add_argument("--finalist-seeds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--minutes", type=float, help="start no further budget after this long")
    parser.add_argument("--out", type=Path, help="a Parquet of every choice")
    parser.add_argument("--beside", type=Path, nargs="+", default=(), help="Parquets of earlier runs")
    parser.add_argument("--picture", type=Path, help="a PNG of regret against compute")
    given = parser.parse_args()
    if not given.budgets and not given.beside:
        parser.error("neither a budget nor an earlier run to show")
    rows = with_earlier([measured(given)] if given.budgets else [], given.beside)
    if given.picture:
        draw(rows, given.picture)
    print(markdown(list(table(rows))))
    noise = between_seeds(rows)
    if noise is not None:
        print(f"deviation between target runs of one choice: {noise:.4f} nats per token")


if __name__ == "__main__":
    main()
