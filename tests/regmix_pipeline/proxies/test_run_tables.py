"""Runs trained elsewhere: both layouts, joined by id, and every way in which tables can be wrong."""

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import RegressionError, StudyError
from regmix_pipeline.proxies.imports import IMPORTED_RUNS
from regmix_pipeline.proxies.new_study import add_to_study, study_about
from regmix_pipeline.proxies.run_facts import fitted_size, sizes_of
from regmix_pipeline.proxies.run_tables import read_runs
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.stages import STAGES

MIXTURES = "index,train_the_pile_arxiv,train_the_pile_github\n1,0.25,0.75\n2,0.5,0.496\n"
LOSSES = "index,metric/the_pile_arxiv_val_loss,metric/the_pile_books_val_loss\n2,2.5,3.5\n1,2.0,3.0\n"
RATIOS = "run,name,index,dclm:Health,wikipedia\nhz0,swarm-0,0,0.4,0.6\npj0,swarm-1,1,0.9,0.1\n"
METRICS = "run,name,index,arc_bpb\npj0,swarm-1,0,1.1\nhz0,swarm-0,1,1.2\n"


@pytest.fixture
def tables(tmp_path):
    def write(mixtures=MIXTURES, losses=LOSSES):
        pair = tmp_path / "mixtures.csv", tmp_path / "losses.csv"
        for path, text in zip(pair, (mixtures, losses), strict=True):
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return pair

    return write


def test_regmix_layout_is_joined_by_index_and_normalised(tables):
    first, second = read_runs(*tables()).runs
    assert first.id == "1"
    assert first.mixture.weights == {"the_pile_arxiv": 0.25, "the_pile_github": 0.75}
    assert first.losses == {"the_pile_arxiv": 2.0, "the_pile_books": 3.0}
    assert second.losses["the_pile_arxiv"] == 2.5
    assert second.mixture.weights["the_pile_arxiv"] == pytest.approx(0.5 / 0.996, abs=1e-6)


def test_olmix_layout_is_joined_by_run_not_by_index_or_order(tables):
    first, second = read_runs(*tables(RATIOS, METRICS)).runs
    assert (first.id, first.losses) == ("hz0", {"arc_bpb": 1.2})
    assert (second.id, second.losses) == ("pj0", {"arc_bpb": 1.1})
    assert first.mixture.weights == {"dclm_health": 0.4, "wikipedia": 0.6}


def test_columns_are_matched_to_the_studys_names(tables):
    first, _ = read_runs(*tables(), ["arxiv", "github", "other"], ["arxiv", "books"]).runs
    assert first.mixture.weights == {"arxiv": 0.25, "github": 0.75}
    assert set(first.losses) == {"arxiv", "books"}


@given(st.permutations(range(8)), st.permutations(range(8)), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_order_of_rows_does_not_matter(tmp_path_factory, one, other, seed):
    weights = np.random.default_rng(seed).dirichlet(np.ones(3), size=8)
    folder = tmp_path_factory.mktemp("runs")
    mixtures, losses = folder / "m.csv", folder / "l.csv"
    mixtures.write_text("index,a,b,c\n" + "".join(f"{i},{','.join(map(repr, weights[i].tolist()))}\n" for i in one))
    losses.write_text("index,t\n" + "".join(f"{i},{(i + 1) / 10}\n" for i in other))
    runs = read_runs(mixtures, losses).runs
    assert {run.id for run in runs} == {str(number) for number in range(8)}
    for run in runs:
        assert run.losses["t"] == (int(run.id) + 1) / 10
        assert run.mixture.vector(["a", "b", "c"]) == pytest.approx(weights[int(run.id)], abs=2e-6)


WRONG = {
    "unmatched run": (MIXTURES + "3,0.5,0.5\n", LOSSES, r"mixtures\.csv: 1 runs have no row in .*losses\.csv.*'3'"),
    "unmatched loss": (MIXTURES, LOSSES + "9,1,1\n", r"losses\.csv: 1 runs have no row in .*mixtures\.csv.*'9'"),
    "duplicate id": (MIXTURES + "1,0.5,0.5\n", LOSSES, r"mixtures\.csv:4: index '1' appears twice.*line 2"),
    "empty id": (MIXTURES + ",0.5,0.5\n", LOSSES, r"mixtures\.csv:4: the index is empty"),
    "negative weight": (MIXTURES.replace("0.25,0.75", "-0.25,1.25"), LOSSES, r"mixtures\.csv:2: .*arxiv is negative"),
    "low sum": (MIXTURES.replace("0.25,0.75", "0.25,0.7"), LOSSES, r"mixtures\.csv:2: the weights sum to 0\.9500"),
    "high sum": (MIXTURES.replace("0.25,0.75", "0.3,0.75"), LOSSES, r"mixtures\.csv:2: the weights sum to 1\.0500"),
    "huge weight": (MIXTURES.replace("0.25", "1e308"), LOSSES, r"mixtures\.csv:2: the weights sum to 1e\+308"),
    "NaN weight": (MIXTURES.replace("0.25", "nan"), LOSSES, r"mixtures\.csv:2: column .*arxiv' holds 'nan'"),
    "NaN loss": (MIXTURES, LOSSES.replace("3.5", "NaN"), r"losses\.csv:2: column .*books.* holds 'NaN'"),
    "empty loss": (MIXTURES, LOSSES.replace("3.5", ""), r"losses\.csv:2: column .*books.* holds nothing"),
    "text": (MIXTURES, LOSSES.replace("3.5", "three"), r"losses\.csv:2: .* holds 'three', not a number"),
    "underscore": (MIXTURES, LOSSES.replace("3.5", "3_5"), r"losses\.csv:2: .* holds '3_5', not a number"),
    "other digits": (MIXTURES, LOSSES.replace("3.5", "٣"), r"losses\.csv:2: .* holds '٣', not a number"),
    "huge loss": (MIXTURES, LOSSES.replace("3.5", "1e308"), r"losses\.csv:2: .* holds 1e308, which is not a loss"),
    "negative loss": (MIXTURES, LOSSES.replace("3.5", "-3.5"), r"losses\.csv:2: .* holds -3\.5, which is not a loss"),
    "loss of zero": (MIXTURES, LOSSES.replace("3.5", "0"), r"losses\.csv:2: .* holds 0, which is not a loss"),
    "huge number": (MIXTURES, LOSSES.replace("3.5", "1e999"), r"losses\.csv:2: .* holds '1e999', not a number"),
    "short line": (MIXTURES + "3,0.5\n", LOSSES, r"mixtures\.csv:4: 2 values where the header names 3"),
    "no id column": (MIXTURES.replace("index", "row"), LOSSES, "share no id column"),
    "column twice": (MIXTURES.replace("github", "arxiv"), LOSSES, "appears twice"),
    "same domain": (MIXTURES.replace("train_the_pile_github", "The_pile_arxiv"), LOSSES, "both mean domain"),
    "no runs": ("index,a\n", LOSSES, r"mixtures\.csv: holds no runs"),
    "not UTF-8": (b"index,caf\xe9\n1,1\n", LOSSES, r"mixtures\.csv: not a CSV in UTF-8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_refused_by_name(tables, case):
    mixtures, losses, message = WRONG[case]
    with pytest.raises(RegressionError, match=message) as caught:
        read_runs(*tables(mixtures, losses))
    assert caught.value.remedy


def test_columns_a_study_does_not_know_are_refused(tables):
    with pytest.raises(RegressionError, match=r"mixtures\.csv:1: column 'train_the_pile_github' is not a domain"):
        read_runs(*tables(), ["arxiv"], ["arxiv", "books"])
    with pytest.raises(RegressionError, match=r"losses\.csv:1: column .*books.* is not a target"):
        read_runs(*tables(), ["arxiv", "github"], ["arxiv"])
    with pytest.raises(RegressionError, match=r"losses\.csv:1: no column for target 'web'"):
        read_runs(*tables(), ["arxiv", "github"], ["arxiv", "books", "web"])


def synthetic_tables(folder, runs=24):
    """Runs of three domains whose loss follows a law: more code is better until there is too little prose."""
    weights = np.random.default_rng(3).dirichlet(np.ones(3), size=runs)
    loss = 3 + 4 * (weights[:, 0] - 0.55) ** 2 + weights[:, 2]
    mixtures, losses = folder / "mixtures.csv", folder / "losses.csv"
    rows = [f"r{i},{','.join(f'{w:.6f}' for w in weights[i])}" for i in range(runs)]
    mixtures.write_text("\n".join(["run,code,prose,noise", *rows]) + "\n")
    losses.write_text("\n".join(["run,web", *(f"r{i},{loss[i]:.6f}" for i in reversed(range(runs)))]) + "\n")
    return mixtures, losses


def test_a_study_about_imported_runs_goes_all_the_way_to_the_report(tmp_path):
    study = tmp_path / "mine.yaml"
    assert len(study_about(*synthetic_tables(tmp_path), study).runs) == 24
    workspace = Workspace(study, tmp_path / "home", say=lambda line: None)
    for stage in STAGES:
        assert all(made.error is None for made in workspace.materialise(stage)), stage.name
    with read_ledger(workspace.ledger) as connection:
        origins = connection.execute("select origin, count(distinct mixture) from current_mixtures group by origin")
        assert origins.fetchall() == [("imported", 24)]
        chosen = dict(connection.execute("select domain, weight from current_optimal_mixture").fetchall())
    assert chosen["noise"] < 0.2
    assert 0.35 < chosen["code"] < 0.85
    assert "mine" in workspace.artefact("mixture_report").read_text()
    assert all(workspace.stale(stage) == {} for stage in STAGES)


def test_imported_runs_that_repeat_data_are_regressed_on_their_epochs(tmp_path):
    study = tmp_path / "mine.yaml"
    study_about(*synthetic_tables(tmp_path), study)
    content = yaml.safe_load(study.read_text())
    content["domains"] = {name: {"available_tokens": 10**6} for name in content["domains"]}
    content["imports"][0]["tokens"] = 3 * 10**6
    content["regression"] = {"regressors": ["saturation", "stack"], "extrapolation": "off", "bootstrap": 50}
    study.write_text(yaml.safe_dump(content))
    workspace = Workspace(study, tmp_path / "home", say=lambda line: None)
    for stage in STAGES:
        assert all(made.error is None for made in workspace.materialise(stage)), stage.name
    with read_ledger(workspace.ledger) as connection:
        names = {row[0] for row in connection.sql("select regressor from current_regressor_scores").fetchall()}
        tokens = connection.sql("select distinct tokens from current_proxy_losses").fetchall()
        steps = connection.sql("select count(*) from current_step_laws").fetchall()
    assert {"repeated+saturation", "repeated+lightgbm_tuned"} <= names
    assert tokens == [(3 * 10**6,)]
    assert steps == [(0,)]  # nothing is known of the runs' losses along the way
    content["domains"]["code"] = {"available_tokens": 4 * 10**6}
    study.write_text(yaml.safe_dump(content))
    workspace = Workspace(study, tmp_path / "home", say=lambda line: None)
    for stage in STAGES[: [stage.name for stage in STAGES].index("regressor")]:
        list(workspace.materialise(stage))
    assert str(workspace.stale(REGRESSOR)["all"]) == "settings changed: available tokens"


@pytest.mark.parametrize("turned", [False, True])
def test_runs_of_another_model_size_are_scored_and_not_fitted_and_seeds_give_the_noise(tmp_path, turned):
    generator = np.random.default_rng(5)
    small = generator.dirichlet(np.ones(3), size=20)
    mixtures, losses = tmp_path / "m.csv", tmp_path / "l.csv"
    weights, rows = ["run,code,prose,noise"], ["run,web,params,seed"]
    for number, seed, size in [*((n, s, 1) for n in range(20) for s in (1, 2)), *((n, 1, 60) for n in range(6))]:
        run = f"{size}-{number}-{seed}"
        weights.append(f"{run},{','.join(f'{w:.6f}' for w in small[number])}")
        value = 3 + 2 * small[number] @ [0.3, 0.1, 0.9] * (-1 if turned and size > 1 else 1)
        value += 0.01 * generator.normal() - 0.5 * (size > 1) + 0.02 * seed
        rows.append(f"{run},{value:.6f},{size}M,{seed}")
    mixtures.write_text("\n".join(weights) + "\n")
    losses.write_text("\n".join(rows) + "\n")
    study = tmp_path / "mine.yaml"
    study_about(mixtures, losses, study)
    content = yaml.safe_load(study.read_text())
    content["regression"] = {"regressors": ["saturation", "linear"], "extrapolation": "off", "bootstrap": 50}
    study.write_text(yaml.safe_dump(content))
    workspace = Workspace(study, tmp_path / "home", say=lambda line: None)
    made = {stage.name: [*workspace.materialise(stage)] for stage in STAGES}
    assert all(each.error is None for stage in made.values() for each in stage)
    assert made["imported_runs"][0].record.facts["runs of other model sizes, not fitted"] == 6
    facts = made["regressor"][0].record.facts
    assert facts["rows"] == 20
    # The size's own shift of half a nat spoils no rank, and would have spoiled the fit.
    rank = facts["rank correlation with other model sizes"]["size 60.0 M"]["web"]
    assert rank < -0.9 if turned else rank > 0.9
    flags = [each for each in workspace.json("optimal_mixture")["flags"] if "size 60.0 M" in each]
    assert len(flags) == turned
    with read_ledger(workspace.ledger) as connection:
        found = connection.sql("select distinct split, metric from current_regressor_scores where split like 'size%'")
        assert sorted(found.fetchall()) == [("size 60.0 M", "pearson"), ("size 60.0 M", "spearman")]
        noise = connection.sql("select noise, seeds from current_noise_floor").fetchall()
        fitted = connection.sql("select count(distinct mixture) from current_mixtures").fetchall()
    assert fitted == [(20,)]
    assert noise[0][1] == 2
    assert 0.005 < noise[0][0] < 0.02
    assert "size 60.0 M" in workspace.artefact("mixture_report").read_text()


def test_model_sizes_are_stated_of_all_imports_or_of_none(tmp_path):
    study = tmp_path / "mine.yaml"
    study_about(*synthetic_tables(tmp_path), study)
    pair = {"mixtures": "mixtures.csv", "losses": "losses.csv"}
    content = yaml.safe_load(study.read_text()) | {"imports": [pair | {"parameters": 10**6}, pair]}
    study.write_text(yaml.safe_dump(content))
    with pytest.raises(StudyError, match=r"imports\.1: others of the imports state the models' parameters"):
        Workspace(study, tmp_path / "home")


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=20), st.booleans())
def test_the_size_that_most_runs_have_is_fitted_and_every_run_has_one(sizes, own):
    groups = sizes_of(sizes)
    assert sorted(size for group in groups for size in group) == sorted(set(sizes))
    taken = fitted_size(sizes, own=[sizes[0]] if own else ())
    counted = [sum(size in group for size in sizes) for group in groups]
    if own:
        assert sizes[0] in taken
    else:
        assert sum(size in taken for size in sizes) == max(counted)


def test_epochs_cannot_be_counted_of_a_prior(tmp_path):
    study = tmp_path / "mine.yaml"
    study_about(*synthetic_tables(tmp_path), study)
    study.write_text(study.read_text().replace("losses: losses.csv", "losses: losses.csv\n  tokens: 1000000"))
    with pytest.raises(StudyError, match=r"imports\.tokens counts epochs, so every domain needs available_tokens"):
        Workspace(study, tmp_path / "home")


def test_imported_runs_join_a_studys_own_proxies(tmp_path, study_file):
    text = "# a comment that stays\n" + study_file.read_text()
    study_file.write_text(text)
    mixtures, losses = tmp_path / "m.csv", tmp_path / "l.csv"
    mixtures.write_text("run,code,licences,descriptions\nx,0.2,0.3,0.5\ny,0.6,0.4,0.0\n")
    losses.write_text("run,science,code\nx,5.0,4.0\ny,5.5,3.0\n")
    add_to_study(study_file, mixtures, losses)
    assert study_file.read_text().startswith("# a comment that stays")
    add_to_study(study_file, mixtures, losses)
    assert len(yaml.safe_load(study_file.read_text())["imports"]) == 1
    workspace = Workspace(study_file, tmp_path / "home", say=lambda line: None)
    (made,) = workspace.materialise(IMPORTED_RUNS)
    assert made.record.facts["runs"] == 2
    losses.write_text("run,science,code\nx,5.0,4.0\ny,5.4,3.0\n")
    workspace = Workspace(study_file, tmp_path / "home", say=lambda line: None)
    assert str(workspace.stale(IMPORTED_RUNS)["all"]) == "settings changed: files"


def test_an_existing_study_is_not_overwritten(tmp_path):
    pair = synthetic_tables(tmp_path)
    study_about(*pair, tmp_path / "mine.yaml")
    with pytest.raises(StudyError, match="exists already"):
        study_about(*pair, tmp_path / "mine.yaml")
    with pytest.raises(StudyError, match="no target 'x'"):
        study_about(*pair, tmp_path / "other.yaml", target="x")
    assert not (tmp_path / "other.yaml").exists()
