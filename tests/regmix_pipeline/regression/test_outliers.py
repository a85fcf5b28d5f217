"""A run that diverged is found, and a loss that its mixture explains is not taken for one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.regression.outliers import outliers


def made(seed, n=32, noise=0.01):
    """Losses on two targets: one falls with a domain's weight, one is far higher where there is none of a domain."""
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(4, 0.5), size=n)
    weights[weights < 0.02] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    smooth = 3 + 1.5 * np.exp(-4 * weights[:, 0])
    own = 2 + 2.5 * np.exp(-25 * weights[:, 1])
    losses = np.column_stack([smooth, own]) + generator.normal(scale=noise, size=(n, 2))
    return weights, losses


@settings(max_examples=30)
@given(st.integers(0, 200))
def test_what_mixtures_explain_is_no_outlier(seed):
    assert outliers(*made(seed), ["smooth", "own"]) == []


@settings(max_examples=20)
@given(st.integers(0, 200), st.integers(0, 31), st.sampled_from([(0, 0.01), (0, 12.0), (1, 12.0), (1, 40.0)]))
def test_a_run_that_diverged_is_found(seed, row, case):
    column, loss = case
    weights, losses = made(seed)
    losses[row, column] = loss
    found = outliers(weights, losses, ["smooth", "own"])
    assert [(each.row, each.target, each.loss) for each in found] == [(row, ("smooth", "own")[column], loss)]
    assert abs(found[0].predicted - loss) > 1


def test_several_and_too_many():
    weights, losses = made(1, n=40)
    losses[[3, 17, 30]] = [9, 9]
    assert [each.row for each in outliers(weights, losses, ["smooth", "own"])] == [3, 17, 30]
    losses[:10] = [9, 9]  # a quarter of all runs is no outlier
    assert outliers(weights, losses, ["smooth", "own"]) == []


@pytest.mark.parametrize("preset", ["easy", "interactions", "scarce", "noisy"])
@pytest.mark.parametrize("seed", range(3))
def test_a_sound_corner_is_no_outlier_where_most_runs_lie_near_the_optimum(preset, seed):
    """As after some rounds: a few mixtures from all over, many near one, and one run of nearly one domain alone."""
    from regmix_pipeline.search.region import project_to_limits, rounded_inside
    from regmix_pipeline.strategies.methods.experiments import sampled
    from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
    from regmix_pipeline.study.settings.mixtures import MixtureSettings

    world, generator = SyntheticWorld(preset, seed), np.random.default_rng(seed)
    d = len(world.domains)
    near = generator.standard_gamma(np.geomspace(30, 300, 36)[:, None] * (world.human.vector(world.domains) + 0.003))
    near = project_to_limits(near / near.sum(axis=1, keepdims=True), world.limits)
    corner = np.full(d, 0.02 / (d - 1))
    corner[generator.integers(d)] = 0.98
    mixtures = [*sampled(world, MixtureSettings(count=16), seed), *(rounded_inside(row, world.limits) for row in near)]
    mixtures.append(Mixture.from_weights(dict(zip(world.domains, corner.tolist(), strict=True)), quantum=200))
    runs = world.train(mixtures, world.proxy)
    weights = np.array([run.mixture.vector(world.domains) for run in runs])
    losses = np.array([[run.losses[target] for target in world.targets] for run in runs])
    assert outliers(weights, losses, world.targets) == []
    losses[20] += 5.0
    assert [each.row for each in outliers(weights, losses, world.targets)] == [20]


def test_few_runs_and_constant_losses():
    weights, losses = made(2, n=8)
    assert outliers(weights, losses, ["smooth", "own"]) == []
    assert outliers(weights, np.ones((8, 1)), ["flat"]) == []


def test_a_study_names_the_run_and_leaves_it_out(tmp_path):
    from regmix_pipeline.decisions.find import find_decision
    from regmix_pipeline.decisions.stage import MIXTURE_DECISION
    from regmix_pipeline.engine.workspace import Workspace
    from regmix_pipeline.proxies.new_study import study_about
    from regmix_pipeline.stages import up_to

    weights, losses = made(3)
    losses[5, 0] = 12
    mixtures, table = tmp_path / "mixtures.csv", tmp_path / "losses.csv"
    rows = [",".join([str(row), *map("{:.6f}".format, each)]) for row, each in enumerate(weights)]
    mixtures.write_text("\n".join(["index,a,b,c,d", *rows]) + "\n")
    rows = [",".join([str(row), *map("{:.6f}".format, each)]) for row, each in enumerate(losses)]
    table.write_text("\n".join(["index,smooth,own", *rows]) + "\n")
    study_about(mixtures, table, tmp_path / "study.yaml")
    text = (tmp_path / "study.yaml").read_text()
    gains = {}
    for outliers_are in ("leave_out", "keep"):
        choice = f"regression: {{regressors: [linear, saturation], outliers: {outliers_are}}}\n"
        (tmp_path / "study.yaml").write_text(text + choice)
        workspace = Workspace(tmp_path / "study.yaml", tmp_path / "home", say=lambda line: None)
        for stage in up_to(MIXTURE_DECISION):
            list(workspace.materialise(stage))
        record = find_decision(workspace)
        (flag,) = [flag for flag in record["flags"] if "run i0_5" in flag]
        assert "its loss on smooth is 12.000, unlike the other runs" in flag
        assert flag.endswith("left out of the fit" if outliers_are == "leave_out" else "it is kept")
        gains[outliers_are] = record["gain"]
        assert workspace.need("regressor").facts["rows"] == (31 if outliers_are == "leave_out" else 32)
        # The sentence and its parts agree.
        chance, corrected = record["gain"]["chance_better_than_natural"], record["gain"]["corrected"]
        assert (chance >= 0.5) == (corrected >= 0)
        assert record["gain"]["low"] <= corrected <= record["gain"]["high"]
    width = {name: gain["high"] - gain["low"] for name, gain in gains.items()}
    assert width["leave_out"] < width["keep"]


def test_errors_of_one_side_make_no_gain(monkeypatch):
    pytest.importorskip("sklearn")
    from regmix_pipeline.search import assessment

    class Skewed:
        domains = ("a", "b")
        weights = np.array([[0.2, 0.8], [0.8, 0.2]])
        losses = np.array([[3.0], [3.2]])

        def objective(self, points, share, law=None):
            return np.array([3.0, 3.05])

        def standard_deviation(self, points, of_measurement=True):
            return np.array([[0.2], [2.0]])

        def shares(self, share):
            return np.array([1.0])

        def objective_errors(self, share):
            return np.array([8.0, *([-0.3] * 27)])  # one run of 28 diverged

    class Objective:
        fitted, target_weights = Skewed(), {"t": 1.0}

    class Region:
        class limits:  # noqa: N801
            allow = staticmethod(lambda weights, slack: np.ones(len(weights), bool))

    monkeypatch.setattr(assessment, "optimism", lambda *given: 0.0)
    natural, chosen = Mixture.from_weights({"a": 0.5, "b": 0.5}), Mixture.from_weights({"a": 0.9, "b": 0.1})
    gain = assessment.gain_of(Objective(), chosen, natural, Region(), 0.9, 1)
    assert gain["predicted"] < 0
    assert gain["chance_better_than_natural"] < 0.51  # of draws
