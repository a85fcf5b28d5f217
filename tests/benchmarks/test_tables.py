"""The benchmark of any folder of tables: what it reads, what it refuses, and that held-out rows decide nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tables
from tables import OURS, REGMIX, Folder, nested, read, regressors

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.strategies.methods.experiments import sampled
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    """Runs of a world at two sizes: 60 of the smaller one, and 20 of the larger, half of them new mixtures."""
    world = SyntheticWorld("easy", 2)
    mixtures = sampled(world, MixtureSettings(count=70), 0)
    ids = [f"run-{number}" for number in range(len(mixtures))]

    def losses(rows: list[int], size: str) -> pl.DataFrame:
        found = world.train([mixtures[row] for row in rows], getattr(world, size))
        columns = {name: [run.losses[name] for run in found] for name in world.objective}
        return pl.DataFrame({"run": [ids[row] for row in rows], **columns}).sample(fraction=1.0, shuffle=True, seed=1)

    weights = np.array([mixture.vector(world.domains) for mixture in mixtures])
    return {
        "mixtures": pl.DataFrame({"run": ids, **dict(zip(world.domains, weights.T, strict=True))}),
        "losses_3m": losses(list(range(60)), "small_proxy"),
        "losses_10m": losses(list(range(50, 70)), "proxy"),
    }


@pytest.fixture
def folder(frames: dict[str, pl.DataFrame], tmp_path: Path) -> Path:
    frames["mixtures"].write_csv(tmp_path / "mixtures.csv")
    frames["losses_3m"].write_csv(tmp_path / "losses_3m.csv")
    frames["losses_10m"].write_parquet(tmp_path / "losses_10m.parquet")
    return tmp_path


def test_tables_of_two_sizes_are_joined_by_id(folder: Path, frames: dict[str, pl.DataFrame]) -> None:
    found = read(folder)
    assert [(runs.size, len(runs.losses)) for runs in found.sizes] == [("3m", 60), ("10m", 20)]
    row = frames["losses_10m"].row(4, named=True)
    drawn = frames["mixtures"].row(by_predicate=pl.col("run") == row["run"], named=True)
    place = int(np.abs(found.sizes[1].losses - [row[name] for name in found.targets]).sum(axis=1).argmin())
    assert found.sizes[1].weights[place] == pytest.approx([drawn[name] for name in found.domains])


def test_it_prints_what_is_known_of_both_sizes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.main(["--tables", str(folder), "--only", "linear", "saturation", "regmix"])
    printed = capsys.readouterr().out
    assert "60 runs, 6 domains, 2 targets" in printed
    small, large = printed.split("10m, predicted from 3m")
    for part, columns in ((small, 7), (large, 4)):
        rows = {line.split(" | ")[0][2:]: line for line in part.splitlines() if line.startswith("| ")}
        assert list(rows)[2:] == ["saturation", "linear", "regmix", "any mixture"]
        assert all(line.count("|") == columns + 2 for line in rows.values())
        linear, law = (float(rows[name].split(" | ")[1].split(" ±")[0]) for name in ("linear", "saturation"))
        assert linear < law
        assert law > 80


def changed_in(found: Folder, fold: int, share: np.ndarray) -> Folder:
    """The same tables with other losses of the rows that one fold holds out."""
    for number, (held, _) in enumerate(nested(found, share, regressors(["linear"]), set())):
        if number == fold:
            out = {each for runs in held for each in runs.mixtures}
    sizes = [
        replace(
            runs,
            losses=np.where(np.isin(runs.mixtures, list(out))[:, None], 9 - runs.losses[:, ::-1] ** 2 / 4, runs.losses),
        )
        for runs in found.sizes
    ]
    return replace(found, sizes=sizes)


def test_held_out_losses_decide_nothing(folder: Path) -> None:
    found = read(folder)
    share = np.full(2, 0.5)
    names = {OURS, REGMIX, "saturation", "scheffe", "mariner"}
    make = regressors(sorted(names))
    before, after = (
        list(islice(nested(each, share, make, names, rows=24), 2)) for each in (found, changed_in(found, 1, share))
    )
    assert set(before[1][1]) == names
    for name in names:
        for one, other in zip(before[1][1][name], after[1][1][name], strict=True):
            assert np.array_equal(one.value, other.value)
        assert not np.array_equal(before[0][1][name][0].value, after[0][1][name][0].value)
    assert (before[1][0][0].losses != after[1][0][0].losses).all()


def test_a_mixture_is_held_out_at_every_size_together(folder: Path) -> None:
    found = read(folder)
    seen: list[str] = []
    for held, _ in nested(found, np.full(2, 0.5), regressors(["linear"]), set()):
        both = [set(runs.mixtures) for runs in held]
        others = [set(runs.mixtures) - out for runs, out in zip(found.sizes, both, strict=True)]
        assert not both[1] & others[0]
        seen += held[0].mixtures
    assert sorted(seen) == sorted(found.sizes[0].mixtures)


def test_tables_called_test_are_left_alone(folder: Path) -> None:
    (folder / "test_losses_3m.csv").write_text("nonsense")
    assert len(read(folder).sizes[0].losses) == 60


def _lose(name: str) -> object:
    return lambda folder, _: (folder / name).unlink()


def _twice(folder: Path, frames: dict[str, pl.DataFrame]) -> None:
    frames["mixtures"].write_csv(folder / "weights.csv")


def _other_ids(folder: Path, frames: dict[str, pl.DataFrame]) -> None:
    frames["losses_3m"].with_columns(run="other-" + pl.col("run")).write_csv(folder / "losses_3m.csv")


def _few(folder: Path, frames: dict[str, pl.DataFrame]) -> None:
    frames["losses_3m"].head(20).write_csv(folder / "losses_3m.csv")


def _other_targets(folder: Path, frames: dict[str, pl.DataFrame]) -> None:
    frames["losses_10m"].select("run", other="outside_0").write_csv(folder / "losses_10m.csv")
    (folder / "losses_10m.parquet").unlink()


def _other_domain(folder: Path, frames: dict[str, pl.DataFrame]) -> None:
    frames["mixtures"].rename({"domain_001": "books"}).write_csv(folder / "mixtures_10m.csv")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_lose("mixtures.csv"), "holds no table of mixtures"),
        (_twice, "may go with mixtures.csv or weights.csv"),
        (_other_ids, "runs have no row in"),
        (_few, "20 mixtures of the smallest size, 40 are needed"),
        (_other_targets, "no target in common"),
        (_other_domain, "draw 'books', those of the smallest size never do"),
    ],
)
def test_bad_folders_are_refused_with_a_remedy(
    folder: Path, frames: dict[str, pl.DataFrame], spoil: object, words: str
) -> None:
    spoil(folder, frames)  # type: ignore[operator]
    with pytest.raises(RegressionError, match=words) as refused:
        read(folder)
    assert refused.value.where
    assert refused.value.remedy


def test_what_is_no_folder_or_no_target_is_said(folder: Path) -> None:
    with pytest.raises(SystemExit, match="no such folder"):
        tables.main(["--tables", str(folder / "nowhere")])
    with pytest.raises(SystemExit, match="'outside_9' is no target"):
        tables.main(["--tables", str(folder), "--objective", "outside_9"])
    for name in ("losses_3m.csv", "losses_10m.parquet"):
        (folder / name).unlink()
    with pytest.raises(SystemExit, match="no table of losses"):
        tables.main(["--tables", str(folder)])
