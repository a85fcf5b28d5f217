"""The training of all proxies in one picture: as they trained, and with the odd ones named."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.integrity import is_step, trajectory_of
from regmix_pipeline.report.curves import COLOURS, ODD, Curve, colour_of, curves_svg, draw, named, read_curves
from regmix_pipeline.report.page import render


def curve(number, objective, losses):
    tokens = tuple(100 * (step + 1) for step in range(len(losses)))
    return Curve(f"p{number}", f"m{number}", tokens, tuple(losses), tuple(loss + 0.1 for loss in losses), objective)


PLAIN = [curve(number, 4 + number / 100, [9, 7, 5.5, 5 + number / 50]) for number in range(12)]


def test_plain_curves_hold_no_outlier():
    assert [each.why for each in named(PLAIN)] == [""] * 12


def test_a_loss_that_rose_and_one_that_ends_high_are_named():
    rose = curve(20, 4.05, [9, 7, 11, 5])
    high = curve(21, 9.0, [9, 9.2, 9.1, 9])
    found = named([*PLAIN, rose, high])
    assert [each.proxy for each in found if each.why] == ["p20", "p21"]
    assert "rose by 4.100" in found[-2].why
    assert "ends at 9.000" in found[-1].why


def test_few_curves_are_not_judged():
    assert not any(each.why for each in named([*PLAIN[:3], curve(9, 99.0, [9, 99])]))


def test_colours_follow_the_objective():
    found = [colour_of(each, 4.0, 4.11) for each in PLAIN]
    assert (found[0], found[-1]) == (COLOURS[0], COLOURS[-1])
    assert [COLOURS.index(colour) for colour in found] == sorted(COLOURS.index(colour) for colour in found)


def test_both_pictures_show_every_curve_and_the_outliers_name():
    found = named([*PLAIN, curve(20, 4.05, [9, 7, 11, 5])])
    paths = [each for each in ElementTree.fromstring(curves_svg(found)).iter() if each.tag.endswith("path")]
    assert len(paths) == 13
    assert [path.get("stroke") for path in paths].count(ODD) == 1
    assert "p20</text>" in curves_svg(found)
    traces = json.loads(draw(found).json)["data"]
    points = sum(value is not None for trace in traces for value in trace["y"])
    assert points == 13 * 4
    assert [trace["hovertext"] for trace in traces if "hovertext" in trace] == [f"p20: {found[-1].why}"]


def test_a_picture_of_many_stays_small():
    many = [replace(PLAIN[0], proxy=f"p{n}", tokens=tuple(range(1, 65)), losses=(5.0,) * 64) for n in range(512)]
    assert len(curves_svg(many)) < 120_000


def test_the_page_names_the_proxy_whose_loss_rose(make, tmp_path):
    study = make(tmp_path, odd=7)
    page = render(study.ledger, study.decision)
    rose = list(dict.fromkeys(row["mixture"] for row in study.rows["mixtures"]))[7]
    assert "How did the proxies train?" in page
    assert f"of mixture {rose}: its training loss rose by" in page


def test_curves_are_those_of_the_training(decided_study):
    workspace = Workspace(decided_study / "tiny.yaml", decided_study / "home", say=lambda line: None)
    with read_ledger(workspace.ledger) as connection:
        found = read_curves(connection, workspace.study.objective)
        finals = dict(
            connection.execute(
                "select proxy, loss from current_proxy_losses where final and target = 'science'"
            ).fetchall()
        )
    assert {each.proxy: each.objective for each in found} == pytest.approx(finals)
    for each in found:
        steps = [row for row in trajectory_of(decided_study / "home" / "proxies" / each.proxy) if is_step(row)]
        assert each.losses == pytest.approx([row["training_loss"] for row in steps])  # fewer steps than points
