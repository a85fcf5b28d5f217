"""Stopping early: the line from pilots, and a study whose proxies stop only where it holds."""

import json

import numpy as np
import pytest

from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.early_stopping import fit_extrapolation, pilot_keys
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.stages import up_to


def test_the_line_and_its_error_are_found():
    rng = np.random.Generator(np.random.PCG64(1))
    at_stop = rng.normal(4, 0.3, (40, 2))
    final = np.array([0.5, 2.0]) + np.array([0.8, 0.1]) * at_stop + rng.normal(0, [0.01, 0.2], (40, 2))
    line = fit_extrapolation(("a", "b"), at_stop, final)
    assert line.slope[0] == pytest.approx(0.8, abs=0.02)
    assert line.error == pytest.approx([0.01, 0.2], rel=0.3)
    assert line.relative_error["a"] < 0.1 < 0.8 < line.relative_error["b"]
    assert line.holds_for(["a"], 0.1)
    assert not line.holds_for(["a", "b"], 0.1)
    loss, error = line.final("a", 4.0)
    assert loss == pytest.approx(0.5 + 0.8 * 4, abs=0.01)
    assert error == line.error[0]


def test_errors_are_of_pilots_left_out():
    rng = np.random.Generator(np.random.PCG64(2))
    at_stop, final = rng.normal(size=(2, 9, 1))
    left_out = []
    for i in range(9):
        rest = np.arange(9) != i
        slope, intercept = np.polyfit(at_stop[rest, 0], final[rest, 0], 1)
        left_out.append(final[i, 0] - intercept - slope * at_stop[i, 0])
    assert fit_extrapolation(("a",), at_stop, final).error[0] == pytest.approx(np.sqrt(np.mean(np.square(left_out))))


def test_three_pilots_are_refused():
    with pytest.raises(ProxyError, match="at least 4 pilots"):
        fit_extrapolation(("a",), np.ones((3, 1)), np.ones((3, 1)))


def test_pilots_are_the_named_ones_and_the_first_others():
    assert pilot_keys(["a", "b", "c", "d", "e"], {"d"}, 3) == ["a", "b", "d"]
    assert pilot_keys(["a", "b"], {"a", "b"}, 1) == ["a", "b"]


def made(study_file, home):
    said = []
    workspace = Workspace(study_file, home, say=said.append)
    for stage in up_to(PROXY_LOSSES):
        for one in workspace.materialise(stage):
            assert one.error is None, one.error
    with read_ledger(workspace.ledger) as connection:
        losses = connection.execute(
            "select mixture, seed, target, loss, standard_error, extrapolated, tokens from current_proxy_losses "
            "where final"
        ).fetchall()
        tokens = connection.execute("select sum(executed_tokens) from current_proxies").fetchall()[0][0]
    return workspace, said, {row[:3]: row[3:] for row in losses}, tokens


@pytest.mark.slow
def test_proxies_stop_where_pilots_extrapolate_their_losses(study_file, change_study, tmp_path):
    whole = made(study_file, tmp_path / "whole")
    change_study({"proxies.early_stopping": {"at": 0.5, "pilots": 8, "tolerance": 1.0}})
    workspace, said, losses, tokens = made(study_file, tmp_path / "early")
    assert any("early stopping       yes: 8 pilots predict" in line for line in said)
    extrapolated = {place for place, (_, _, early, _) in losses.items() if early}
    assert len({mixture for mixture, *_ in extrapolated}) == 5
    assert tokens == whole[3] - 5 * 16_384 // 2
    assert {row[3] for row in losses.values()} == {16_384}
    assert losses.keys() == whole[2].keys()
    for place in losses:
        if place not in extrapolated:
            assert losses[place] == whole[2][place]
    off = np.array([losses[place][0] - whole[2][place][0] for place in extrapolated])
    claimed = np.array([losses[place][1] for place in extrapolated])
    assert (np.abs(off) < 4 * claimed).all()
    assert np.abs(off).max() < 0.3
    # Lineage: what was extrapolated is based on the pilots.
    key = next(iter(extrapolated))[0]
    assert len(workspace.need("proxy_losses", key).inputs) == 9 + 2
    assert not workspace.stale(PROXY_CHECKPOINTS)
    assert not workspace.stale(PROXY_LOSSES)
    # A target whose text changes is measured on what was kept of the pilots, and extrapolated again.
    with (study_file.parent / "text" / "science.jsonl").open("a") as file:
        file.write(json.dumps({"id": "more", "text": "Another paragraph about data sets. " * 40}) + "\n")
    _, _, again, _ = made(study_file, tmp_path / "early")
    assert {place for place, (_, _, early, _) in again.items() if early} == extrapolated
    # Asked to go to the end after all, the stopped ones alone are trained.
    change_study({"proxies.early_stopping": {"at": 0.5, "pilots": 8, "tolerance": 0.001}})
    _, said, losses, _ = made(study_file, tmp_path / "early")
    assert any("early stopping       no: 8 pilots predict" in line for line in said)
    mine = {place: row[0] for place, row in losses.items() if place[2] == "code"}
    assert mine == {place: row[0] for place, row in whole[2].items() if place[2] == "code"}
    assert not any(early for _, _, early, _ in losses.values())
