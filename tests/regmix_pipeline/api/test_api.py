"""The method from a notebook: what goes in, what comes out, and that it is the pipeline's own answer."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import regmix_pipeline as rp
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError, RegmixError, RegressionError, StudyError
from regmix_pipeline.proxies.new_study import study_about
from regmix_pipeline.stages import STAGES

ROOT = Path(__file__).resolve().parents[3]
DOMAINS, TARGETS = ["books", "code", "web"], ["news", "science"]
FEW = {"regressors": ["saturation", "gaussian_process", "linear"], "bootstrap": 50}
NATURAL = {"web": 0.7, "code": 0.2, "books": 0.1}


@pytest.fixture(scope="module")
def runs():
    """Weights and losses of 24 runs, as arrays: science wants code, news wants web."""
    generator = np.random.default_rng(4)
    weights = np.round(generator.dirichlet([1.0, 1.0, 1.0], 24), 6)
    weights[:, 2] = np.round(1 - weights[:, 0] - weights[:, 1], 6)
    news = 3 + np.exp(-3 * weights[:, 2]) + generator.normal(0, 0.005, 24)
    science = 3 + np.exp(-3 * (0.8 * weights[:, 1] + 0.2 * weights[:, 0])) + generator.normal(0, 0.005, 24)
    return weights, np.round(np.column_stack([news, science]), 6)


@pytest.fixture(scope="module")
def fitted(runs):
    return rp.fit(*runs, domains=DOMAINS, targets=TARGETS, settings=FEW)


def frames(runs):
    weights, losses = runs
    names = [f"r{number}" for number in range(len(weights))]
    mixed = np.random.default_rng(1).permutation(len(weights))
    with_run = {
        "polars": (
            pl.DataFrame(weights, schema=DOMAINS).with_columns(run=pl.Series(names)),
            pl.DataFrame(losses, schema=TARGETS).with_columns(run=pl.Series(names))[mixed.tolist()],
        ),
        "pandas": (
            pd.DataFrame(weights, columns=DOMAINS).assign(run=names),
            pd.DataFrame(losses, columns=TARGETS).assign(run=names).iloc[mixed],
        ),
        "pandas by its index": (
            pd.DataFrame(weights, columns=DOMAINS, index=names),
            pd.DataFrame(losses, columns=TARGETS, index=names).iloc[mixed],
        ),
        "a dictionary": (dict(zip(DOMAINS, weights.T, strict=True)), dict(zip(TARGETS, losses.T, strict=True))),
    }
    return with_run


@pytest.mark.parametrize("kind", ["polars", "pandas", "pandas by its index", "a dictionary"])
def test_every_kind_of_table_gives_the_same_fit_whatever_the_order_of_the_losses(runs, fitted, kind):
    found = rp.fit(*frames(runs)[kind], settings=FEW)
    assert (found.domains, found.targets) == (tuple(DOMAINS), tuple(TARGETS))
    points = np.random.default_rng(2).dirichlet(np.ones(3), 5)
    assert found.predict(points).mean == pytest.approx(fitted.predict(points).mean, abs=1e-12)
    shuffled = pd.DataFrame(points, columns=DOMAINS)[["web", "books", "code"]]
    assert found.predict(shuffled).mean == pytest.approx(found.predict(points).mean, abs=1e-12)


def test_one_table_of_everything_by_column_names(runs, fitted):
    weights, losses = (frames(runs)["polars"][at] for at in (0, 1))
    whole = weights.join(losses, on="run", maintain_order="left").with_columns(step=pl.lit(100))
    found = rp.fit(whole, whole, domains=DOMAINS, targets=TARGETS, settings=FEW)
    assert found.predict(NATURAL).mean == pytest.approx(fitted.predict(NATURAL).mean, abs=1e-12)


def test_a_prediction_has_intervals_that_hold_and_scores_are_of_rows_not_seen(runs, fitted):
    weights, losses = runs
    found = fitted.predict(weights, level=0.9)
    assert found.mean.shape == found.low.shape == (24, 2)
    assert ((found.low < found.mean) & (found.mean < found.high)).all()
    assert ((found.low <= losses) & (losses <= found.high)).mean() > 0.8
    assert found.frame.columns == ["row", "target", "predicted", "low", "high"]
    scores = fitted.scores.filter(pl.col("metric") == "spearman", pl.col("split") == "random")
    assert scores["target"].to_list() == TARGETS
    assert scores["value"].min() > 0.9
    # Equal to what the rows' own folds give, and not to a score of the fit on its own rows.
    own = np.sqrt(((fitted.fitted.out_of_fold - losses) ** 2).mean(axis=0))
    rmse = fitted.scores.filter(pl.col("metric") == "rmse", pl.col("split") == "random")
    assert rmse["value"].to_list() == pytest.approx(own.tolist())


def test_the_answer_is_the_pipelines_own(runs, tmp_path):
    weights, losses = frames(runs)["polars"]
    weights.select("run", *DOMAINS).write_csv(tmp_path / "m.csv")
    losses.select("run", *TARGETS).write_csv(tmp_path / "l.csv")
    study = tmp_path / "s.yaml"
    study_about(tmp_path / "m.csv", tmp_path / "l.csv", study)
    content = yaml.safe_load(study.read_text())
    content["regression"] = FEW
    content["domains"]["web"]["cap"] = 0.4
    study.write_text(yaml.safe_dump(content))
    workspace = Workspace(study, tmp_path / "home", say=lambda line: None)
    for stage in STAGES[: [stage.name for stage in STAGES].index("optimal_mixture") + 1]:
        assert all(made.error is None for made in workspace.materialise(stage)), stage.name
    theirs = workspace.json("optimal_mixture")
    fitted = rp.fit(weights, losses, settings=FEW)
    for mine, recorded in zip(
        fitted.fitted.scores, workspace.json("regressor", suffix="scores.json")["scores"], strict=True
    ):
        assert all(mine[name] == recorded[name] for name in ("regressor", "target", "split", "metric", "chosen"))
        assert mine["value"] == pytest.approx(recorded["value"], abs=1e-6)
    natural = {name: content["domains"][name]["prior"] for name in DOMAINS}
    ours = fitted.optimise({"caps": {"web": 0.4}}, natural=natural)
    same = [ours.weights.get(name, 0) for name in DOMAINS]
    assert same == pytest.approx([theirs["parts"].get(name, 0) / 1e6 for name in DOMAINS], abs=2e-3)
    chosen = next(row for row in theirs["predictions"] if (row["name"], row["target"]) == ("chosen", "objective"))
    assert (ours.predicted, ours.low, ours.high) == pytest.approx(
        (chosen["predicted"], chosen["low"], chosen["high"]), abs=1e-4
    )


def test_limits_hold_and_the_natural_mixture_is_compared_where_it_is_known(fitted):
    best = fitted.optimise({"caps": {"code": 0.3}}, target_weights={"science": 1})
    assert (best.natural, best.gain) == (None, None)
    assert best.weights["code"] == pytest.approx(0.3, abs=1e-3)
    assert "natural" not in repr(best)
    assert "natural" not in best.predictions["name"].to_list()
    known = fitted.optimise(
        {"available_tokens": {"web": 7e9, "code": 2e9, "books": 1e9}, "target_tokens": 20e9, "max_epochs": 2},
        target_weights={"science": 1},
    )
    rows = {row["domain"]: row for row in known.domains.iter_rows(named=True)}
    assert rows["code"]["cap"] == pytest.approx(0.2)
    assert all(row["epochs"] <= 2.001 for row in rows.values())
    assert rows["web"]["natural"] == pytest.approx(0.7)
    assert known.natural.mean[0, 0] - known.predicted == pytest.approx(known.gain["predicted"])
    assert known.natural.low[0, 0] < known.natural.mean[0, 0] < known.natural.high[0, 0]
    news = fitted.optimise(target_weights={"news": 1}, natural=NATURAL)
    assert news.weights["web"] > 0.7 > best.weights["web"]
    grouped = fitted.optimise(rp.LargeRun(groups=[{"domains": ["web", "books"], "cap": 0.25}]))
    assert grouped.weights["web"] + grouped.weights["books"] <= 0.2501


def test_epochs_are_limited_domain_by_domain_and_every_cap_has_its_price(fitted):
    known = {"available_tokens": {"web": 7e9, "code": 2e9, "books": 1e9}, "target_tokens": 20e9}

    def caps(**limits):
        rows = fitted.optimise(known | limits, target_weights={"science": 1}).domains.iter_rows(named=True)
        return {row["domain"]: row["cap"] for row in rows}

    assert caps(max_epochs={"code": 3})["code"] == pytest.approx(0.3)
    assert caps(max_epochs={"code": 3})["books"] == pytest.approx(0.2)
    grouped = [{"domains": ["code", "books"], "max_epochs": 6}]
    assert caps(groups=grouped) == pytest.approx({"web": 1.0, "code": 0.6, "books": 0.3})
    assert caps(groups=grouped, max_epochs={"code": 3})["code"] == pytest.approx(0.3)
    with pytest.raises(MixtureError, match="'poems' is not a domain"):
        caps(max_epochs={"poems": 3})
    with pytest.raises(MixtureError, match="0 is not above 0"):
        caps(max_epochs={"code": 0})
    best = fitted.optimise(known | {"max_epochs": {"code": 2}}, target_weights={"science": 1})
    (price,) = (row for row in best.shadow_prices.iter_rows(named=True) if row["limit"] == "cap of code")
    assert (price["epochs"], price["further_epochs"]) == pytest.approx((2, 3))
    more = fitted.optimise(known | {"max_epochs": {"code": 3}}, target_weights={"science": 1})
    assert price["further_gain"] == pytest.approx(best.predicted - more.predicted, abs=5e-3)
    assert price["price_per_epoch"] > 0
    assert fitted.optimise(natural=NATURAL).shadow_prices.is_empty()


def test_proposals_lie_inside_the_limits_apart_from_what_was_measured(runs, fitted):
    best = fitted.optimise({"caps": {"web": 0.5}})
    found = fitted.propose(4, best)
    assert len(found) == 4
    assert found["mixture"].n_unique() == 4
    weights = found.select(DOMAINS).to_numpy()
    assert weights.sum(axis=1) == pytest.approx(np.ones(4))
    assert weights[:, DOMAINS.index("web")].max() <= 0.5
    nearest = np.abs(weights[:, None] - runs[0][None]).sum(axis=2).min(axis=1)
    assert nearest.min() > 1e-3
    # What is proposed can be trained, and measured rows join the table.
    assert fitted.predict(found.select(DOMAINS)).mean.shape == (4, 2)


def test_plots_are_figures_of_what_was_fitted(runs, fitted):
    drawn = fitted.plot("science")
    assert sorted(drawn.data[1].x) == pytest.approx(sorted(runs[1][:, 1].tolist()))
    best = fitted.optimise({"caps": {"web": 0.5}}, natural=NATURAL)
    shown = best.plot().data[-1]
    assert dict(zip(shown.y, shown.x, strict=True)) == pytest.approx(best.weights, abs=1e-6)
    with pytest.raises(RegressionError, match="no target 'poems'"):
        fitted.plot("poems")


@given(st.integers(0, 10**6), st.floats(0.35, 1))
@settings(max_examples=10, deadline=None)
def test_samples_are_mixtures_inside_the_caps(seed, cap):
    found = rp.sample(NATURAL, 8, limits={"caps": {"web": cap}}, seed=seed)
    weights = found.select(list(NATURAL)).to_numpy()
    assert weights.sum(axis=1) == pytest.approx(np.ones(8))
    assert found["web"].max() <= cap + 1e-9
    assert found["run"].n_unique() == 8


def changed(table, row, column, value):
    out = table.copy()
    out[row, column] = value
    return out


W = np.full((10, 2), 0.5) + np.arange(-5, 5)[:, None] * [0.02, -0.02]
L = np.arange(10.0)[:, None] / 10 + 3
AB = {"domains": ["a", "b"], "targets": ["t"]}
BAD = {
    "a sum that is not 1": (
        (changed(W, 3, 0, 0.9), L),
        AB,
        r"weights:3: the weights sum to 1\.\d+",
        "a row must sum to 1",
    ),
    "a weight below 0": ((changed(W, 2, 0, -0.5), L), AB, r"weights:2: the weight of a is negative", "0 or more"),
    "a NaN weight": ((changed(W, 2, 0, np.nan), L), AB, r"weights:2: column 'a' holds 'nan'", "leave the run out"),
    "a NaN loss": ((W, changed(L, 4, 0, np.nan)), AB, r"losses:4: column 't' holds 'nan'", "leave the run out"),
    "rows that do not match": ((W, L[:9]), AB, "10 rows of weights, 9 of losses", "a row per run, or a column 'run'"),
    "too few rows": ((W[:7], L[:7]), AB, "7 mixtures have losses, 8 are needed", "train more"),
    "text": ((W.astype(str), L), AB, "no table of numbers", "or a frame"),
    "names that do not fit": ((W, L), {"domains": ["a", "b", "c"]}, "2 columns, and 3 names", "name every domain"),
    "no such column": (
        ({"a": W[:, 0], "b": W[:, 1]}, {"t": L[:, 0]}),
        {"targets": ["u"]},
        "losses: no column 'u'",
        "its columns are",
    ),
    "ids in one table": (
        ({"run": list("abcdefghij"), "a": W[:, 0], "b": W[:, 1]}, {"t": L[:, 0]}),
        {},
        "share no id column",
        "names the run of each row",
    ),
    "one domain": ((np.ones((10, 1)), L), {}, "domains are 1", "at least two domains"),
    "a wrong setting": ((W, L), AB | {"settings": {"regresors": []}}, "did you mean regressors", "RegressionSettings"),
    "tokens of nothing": ((W, L), AB | {"tokens": 1e9}, "one of them is missing", "give both or neither"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_with_a_remedy(case):
    tables, words, problem, remedy = BAD[case]
    with pytest.raises(RegmixError, match=problem) as caught:
        rp.fit(*tables, **words)
    assert remedy in caught.value.remedy


WRONG = {
    "a cap of no domain": ({"caps": {"poems": 0.1}}, {}, MixtureError, "'poems' is not a domain"),
    "a cap beside caps": ({"web": 0.1}, {}, MixtureError, "there is no limit 'web'"),
    "a cap in percent": ({"caps": {"web": 30}}, {}, MixtureError, "web: 30"),
    "caps that leave nothing": ({"caps": dict.fromkeys(DOMAINS, 0.1)}, {}, MixtureError, "caps sum to 0.3"),
    "tokens of no run": ({"available_tokens": {"web": 1}}, {}, MixtureError, "one of them is missing"),
    "a group of no domain": ({"groups": [{"domains": ["poems"], "cap": 0.1}]}, {}, MixtureError, "unknown domains"),
    "a target of none": ({}, {"target_weights": {"poems": 1}}, RegressionError, "unknown targets"),
    "a natural mixture of 2": ({}, {"natural": {"web": 2.0}}, RegressionError, "natural:0: the weights sum to 2"),
    "a wrong search": ({}, {"settings": {"method": "luck"}}, StudyError, "simulation"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_questions_are_refused_with_a_remedy(fitted, case):
    limits, words, kind, problem = WRONG[case]
    with pytest.raises(kind, match=problem) as caught:
        fitted.optimise(limits, **words)
    assert caught.value.remedy
    with pytest.raises(RegressionError, match="'poems' is not a domain"):
        fitted.predict({"poems": 1.0})
    with pytest.raises(RegressionError, match="no column for the domain 'web'"):
        fitted.predict(pd.DataFrame({"books": [0.5], "code": [0.5]}))


def test_repetition_is_counted_where_tokens_are_given(runs):
    weights, losses = runs
    few = {"regressors": ["saturation", "linear"], "bootstrap": 50, "extrapolation": "off"}
    available = dict.fromkeys(DOMAINS, 1e9)
    found = rp.fit(
        weights, losses, domains=DOMAINS, targets=TARGETS, tokens=4e9, available_tokens=available, settings=few
    )
    assert any(row["regressor"].startswith("repeated+") for row in found.fitted.scores)


def test_a_run_that_diverged_is_left_out_and_named(runs):
    weights, losses = runs
    found = rp.fit(weights, changed(losses, 7, 0, 30.0), domains=DOMAINS, targets=TARGETS, settings=FEW)
    assert len(found.fitted.weights) == 23
    assert "a loss of 30.000 on news is unlike the other runs and is left out" in repr(found)


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'numpy', 'torch', 'sklearn', 'dagster', 'polars', 'lightgbm', 'scipy'}"
    code = f"import sys, regmix_pipeline; assert not {heavy} & set(sys.modules); assert 'fit' in dir(regmix_pipeline)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    heavy = "{'torch', 'dagster', 'datatrove'}"
    code = f"import sys; import regmix_pipeline as rp; rp.fit; assert not {heavy} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rp.nothing  # noqa: B018


def test_the_readmes_lines_run_as_printed(runs, tmp_path, monkeypatch, capsys):
    section = (ROOT / "README.md").read_text().split("## In a notebook")[1]
    lines = re.search(r"```python\n(.*?)```", section, re.S)[1]
    assert len([line for line in lines.splitlines() if line]) <= 10
    weights, losses = frames(runs)["polars"]
    weights.write_csv(tmp_path / "mixtures.csv")
    losses.write_csv(tmp_path / "losses.csv")
    monkeypatch.chdir(tmp_path)
    space = {}
    exec(lines, space)
    said = capsys.readouterr().out
    assert "spearman" in said
    assert re.search(r"predicted \d\.\d+ \(\d\.\d+ to \d\.\d+\)\nnatural \d\.\d+; gain", said)
    assert space["best"].weights["code"] <= 0.3
    assert len(pl.read_csv("next.csv")) == 4
