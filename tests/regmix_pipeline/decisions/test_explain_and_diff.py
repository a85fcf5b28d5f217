"""Why a weight is what it is, and what moved it: on a real tiny study that is decided four times."""

import json
import shutil

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.decisions.diff.attribution import attribution_of, shapley
from regmix_pipeline.decisions.diff.causes import Replay
from regmix_pipeline.decisions.diff.difference import difference_of
from regmix_pipeline.decisions.evidence import evidence_behind
from regmix_pipeline.decisions.explain.explanation import answer_of, explanation_of
from regmix_pipeline.decisions.explain.show import chart
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, MixtureError
from regmix_pipeline.stages import up_to

FIRST, CAPPED, CHANGED, ARRIVED = range(4)


@pytest.fixture(scope="module")
def decided(real_text, tiny_settings, quick_settings, tmp_path_factory):
    """A tiny study decided four times: at first, under a cap, with another text, with a domain more and one less."""
    folder = tmp_path_factory.mktemp("explained")
    shutil.copytree(real_text, folder / "text")
    settings = quick_settings | {
        "domains": tiny_settings["domains"],
        "mixtures": {"count": 12, "minimum": 0.05, "anchors": {"natural": True}, "under_caps": False},
        "proxies": quick_settings["proxies"] | {"noise": {"mixtures": 0}},
        # A domain that arrives is a copy of the target.
        "text_checks": {"refuse_overlap": 1},
    }

    taken = []

    def decide():
        (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        workspace = Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None, workers=1)
        for stage in up_to(MIXTURE_DECISION):
            assert not [made.error for made in workspace.materialise(stage) if made.error]
        taken.append(find_decision(workspace))

    decide()
    heaviest = max(taken[0]["mixture"]["weights"].items(), key=lambda item: item[1])
    domains = dict(settings["domains"])
    settings["domains"] = domains | {heaviest[0]: domains[heaviest[0]] | {"cap": round(heaviest[1] - 0.1, 3)}}
    decide()
    code = folder / "text" / "code.jsonl"
    lines = code.read_text().splitlines(keepends=True)
    code.write_text("".join(lines[: len(lines) // 2]))
    decide()
    shutil.copy(folder / "text" / "science.jsonl", folder / "text" / "papers.jsonl")
    kept = {name: domain for name, domain in settings["domains"].items() if name != "descriptions"}
    settings["domains"] = kept | {"papers": {"source": {"jsonl": "text/papers.jsonl"}}}
    settings["limits"] = {"target_tokens": 200_000, "max_epochs": 4}
    decide()
    return folder, heaviest[0], taken


@pytest.fixture
def workspace(decided):
    return Workspace(decided[0] / "tiny.yaml", decided[0] / "home", say=lambda line: None)


@pytest.fixture
def records(decided):
    assert len({record["decision"] for record in decided[2]}) == 4
    return decided[2]


def test_the_curve_passes_through_the_chosen_point_and_stays_inside_the_limits(workspace, records):
    for record in records:
        predicted = {row["target"]: row for row in record["predictions"] if row["name"] == "chosen"}
        for row in record["domains"]:
            found = explanation_of(workspace, row["domain"], record["decision"])
            point = found["curve"][found["chosen_point"]]
            assert point["weight"] == pytest.approx(row["weight"], abs=1e-9)
            assert point["difference"] == 0
            for end in ("predicted", "low", "high"):
                assert point["objective"][end] == pytest.approx(predicted["objective"][end], abs=1e-9)
                assert point["targets"]["code"][end] == pytest.approx(predicted["code"][end], abs=1e-9)
            weights = [each["weight"] for each in found["curve"]]
            assert weights == sorted(weights)
            assert row["floor"] - 1e-6 <= weights[0]
            assert weights[-1] <= row["cap"] + 1e-6
            for each in found["curve"]:
                assert sum(each["mixture"].values()) == pytest.approx(1, abs=1e-6)
                assert all(each["mixture"][one["domain"]] <= one["cap"] + 2e-6 for one in record["domains"])
            effect = next(each for each in found["effects"] if each["target"] == "objective")
            assert effect["sensitivity"] == pytest.approx(row["sensitivity"], abs=1e-9)


def test_a_cap_that_holds_a_weight_is_named_and_valued(decided, workspace, records):
    domain, record = decided[1], records[CAPPED]
    found = explanation_of(workspace, domain, record["decision"])
    assert found["at_cap"]
    assert found["cap_from"] == "the study file"
    own = next(row for row in found["limits"] if row["own"])
    assert own["limit"] == f"cap of {domain}"
    # The cap was set ten points below the optimum, so that the law must see a gain in a point more.
    assert own["worth"] > 0
    assert own["weight_change"] == pytest.approx(0.01, abs=1e-3)
    assert "because its cap" in found["answer"]
    assert f"{own['worth']:.4f}" in found["answer"]
    allowed = {row["name"]: row["allowed"] for row in found["alternatives"]}
    # The decision before it had more of the domain than the cap now allows.
    assert allowed["previous"] is False
    assert allowed["chosen"] is allowed["natural"] is True


def test_an_open_weight_is_said_to_be_open(workspace, records):
    rows = [(record, row) for record in records for row in record["domains"]]
    found = [(row, explanation_of(workspace, row["domain"], record["decision"])) for record, row in rows]
    undecided = [one for row, one in found if row["weakly_identified"] and not (row["at_cap"] or row["at_floor"])]
    assert undecided
    assert all("is not decided by the evidence" in one["answer"] for one in undecided)


def test_a_search_that_missed_the_best_is_said_to_have_missed_it(workspace, records):
    found = explanation_of(workspace, "code", records[FIRST]["decision"])
    assert found["at_cap"] is found["at_floor"] is False
    better = found["curve"][0] | {"difference": -2 * found["standard_error"]}
    missed = found | {"curve": [better, *found["curve"][1:]]}
    assert "is not where the evidence puts it" in answer_of(missed)
    forbidden = found | {"curve": [better | {"allowed": False}, *found["curve"][1:]]}
    assert "is not where the evidence puts it" not in answer_of(forbidden)


def test_an_old_decision_is_explained_by_its_own_evidence(workspace, records):
    found = explanation_of(workspace, "descriptions", records[FIRST]["decision"])
    assert found["evidence"]["regressor"] == records[FIRST]["versions"]["regressor/all"]
    assert found["evidence"]["regressor"] != workspace.need("regressor").version
    with pytest.raises(MixtureError, match="no domain 'descriptions'"):
        explanation_of(workspace, "descriptions")


def test_evidence_that_is_gone_or_altered_is_named(decided, tmp_path):
    shutil.copytree(decided[0], tmp_path / "study")
    workspace = Workspace(tmp_path / "study" / "tiny.yaml", tmp_path / "study" / "home", say=lambda line: None)
    record = find_decision(workspace)
    noise = workspace.artefact("regressor", suffix="noise.json")
    noise.write_text(noise.read_text() + " ")
    with pytest.raises(LedgerError, match="was altered"):
        explanation_of(workspace, "code")
    noise.unlink()
    with pytest.raises(LedgerError, match=f"the evidence of {record['decision']} is gone"):
        explanation_of(workspace, "code")
    found = difference_of(workspace)
    assert found["attribution"] is None
    assert "is gone" in found["attribution_missing"]
    assert found["weights"]


def test_a_cap_alone_is_the_cause_of_what_it_moved(decided, workspace, records):
    found = difference_of(workspace, records[FIRST]["decision"], records[CAPPED]["decision"])
    attribution = found["attribution"]
    assert "limits" in attribution["causes"]
    row = next(row for row in attribution["domains"] if row["domain"] == decided[1])
    assert row["change"] == pytest.approx(-0.1, abs=0.002)
    # The natural mixture keeps the caps too: where it has to move, its proxy is another piece of evidence.
    assert row["parts"]["limits"] == pytest.approx(row["change"], abs=0.03)
    assert any(said.startswith(f"{decided[1]} -10.0 points: limits -") for said in found["movements"])
    assert f"{decided[1]}.cap asked" in [each["what"] for each in found["inputs"]["limits"]]
    assert found["evidence"]["mixtures"]["trained_again"] <= 1


def test_rows_sum_to_the_recorded_change(workspace, records):
    for before, after in ((FIRST, CAPPED), (CAPPED, CHANGED), (CHANGED, ARRIVED), (ARRIVED, FIRST)):
        pair = [evidence_behind(workspace, records[each]) for each in (before, after)]
        found = attribution_of(*pair)
        held = [records[each]["mixture"]["weights"] for each in (before, after)]
        for row in [*found["domains"], found["gain"]]:
            assert sum(row["parts"].values()) + row["residual"] == pytest.approx(row["change"], abs=1e-12)
        for row in found["domains"]:
            then, now = (each.get(row["domain"], 0.0) for each in held)
            assert row["change"] == pytest.approx(now - then, abs=1e-12)
            # The same search on the same evidence gives the same weights.
            assert abs(row["residual"]) < 1e-9
        assert sum(row["change"] for row in found["domains"]) == pytest.approx(0, abs=1e-9)


def test_a_changed_text_is_a_change_of_evidence_and_inventory(workspace, records):
    found = difference_of(workspace, records[CAPPED]["decision"], records[CHANGED]["decision"])
    assert {"evidence", "inventory"} <= set(found["attribution"]["causes"])
    assert "limits" not in found["attribution"]["causes"]
    (text,) = found["inputs"]["text"]
    assert (text["source"], text["state"]) == ("code", "changed")
    assert text["tokens"][1] < text["tokens"][0]
    assert found["evidence"]["mixtures"]["trained_again"] > 0
    assert found["inputs"]["versions"]["token_shards"]["changed"] == 1


def test_domains_that_came_and_went(workspace, records):
    found = difference_of(workspace, records[CHANGED]["decision"], records[ARRIVED]["decision"])
    assert found["inputs"]["domains"] == {"came": ["papers"], "removed": ["descriptions"], "renamed": {}}
    rows = {row["domain"]: row for row in found["attribution"]["domains"]}
    assert set(rows) >= {"code", "licences", "descriptions", "papers"}
    assert rows["papers"]["before"] == rows["descriptions"]["after"] == 0


def test_previous_is_the_one_before_the_other(workspace, records):
    assert difference_of(workspace)["a"]["decision"] == records[CHANGED]["decision"]
    assert difference_of(workspace, "previous", "previous")["a"]["decision"] == records[CAPPED]["decision"]
    with pytest.raises(LedgerError, match="no decision before"):
        difference_of(workspace, "previous", records[FIRST]["decision"])
    with pytest.raises(LedgerError, match="both are"):
        difference_of(workspace, "current", "current")


def test_equal_searches_are_made_once(workspace, records):
    replay = Replay({"a": evidence_behind(workspace, records[FIRST]), "b": evidence_behind(workspace, records[FIRST])})
    assert replay.changed == []
    weights, _ = replay.answer(())
    again, _ = replay.answer(("limits", "evidence"))
    assert replay.searches == 1
    assert (weights == again).all()


@pytest.mark.parametrize("seed", range(5))
def test_shapley_values_are_efficient_symmetric_and_give_a_dummy_nothing(seed):
    generator = np.random.default_rng(seed)
    causes = ["a", "b", "c", "idle"]
    values = {}

    def value(subset):
        counted = frozenset(subset) - {"idle"}
        return values.setdefault(counted, generator.normal(size=3))

    found = shapley(causes, value)
    assert sum(found.values()) == pytest.approx(value(causes) - value(()))
    assert found["idle"] == pytest.approx(np.zeros(3), abs=1e-12)
    alike = shapley(["x", "y"], lambda subset: np.array([float(len(subset)) ** 2]))
    assert alike["x"] == alike["y"] == pytest.approx([2.0])


def test_the_chart_is_highest_where_the_values_are():
    lines = chart([1.0, 3.0, 2.0], height=2)
    assert [line[1] for line in lines] == ["█", "█"]
    assert [line[0] for line in lines] == [" ", "▁"]
    assert chart([2.0, 2.0], height=1) == ["▁▁"]


def test_commands_answer_as_tables_and_as_json(decided, monkeypatch):
    folder = decided[0]
    monkeypatch.setenv("COLUMNS", "80")
    where = ["--study", str(folder / "tiny.yaml"), "--home", str(folder / "home")]
    shown = CliRunner().invoke(app, ["explain", "code", *where])
    assert shown.exit_code == 0, shown.output
    assert "▲ chosen" in shown.output
    answer = json.loads(CliRunner().invoke(app, ["explain", "code", "--json", *where]).stdout)
    assert answer["domain"] == "code"
    assert shown.stdout.replace("\n", " ").startswith(answer["answer"][:40])
    shown = CliRunner().invoke(app, ["diff", *where])
    assert shown.exit_code == 0, shown.output
    assert "domains that came: papers" in shown.output
    answer = json.loads(CliRunner().invoke(app, ["diff", "--json", *where]).stdout)
    assert answer["attribution"]["domains"]
    wrong = CliRunner().invoke(app, ["explain", "poems", *where])
    assert wrong.exit_code == 1
    assert "name one of: code, licences, papers" in wrong.output
