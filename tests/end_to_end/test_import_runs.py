"""`regmix import-runs` about tables as trackers and spreadsheets export them, and what it says of them."""

import json

import pytest
import yaml

MIXTURES = """index,code,web,empty
r1,0.2,0.8,0
r2,0.5,0.5,0
r3,0.3,0.7,0
"""
LOSSES = """index,science,copy,_step,learning_rate,flat
r3,3.2,3.2,900,0.1,2
r1,3.1,3.1,700,0.2,2
r2,3.0,3.0,800,0.3,2
"""


@pytest.fixture
def imported(tmp_path, command):
    """Run the command on two tables: (status, what it said, the study that it wrote or None)."""

    def run(mixtures, losses, *words):
        (tmp_path / "m.csv").write_text(mixtures)
        (tmp_path / "l.csv").write_text(losses)
        (tmp_path / "s.yaml").unlink(missing_ok=True)
        ran = command(tmp_path, "import-runs", "m.csv", "l.csv", "--write", "s.yaml", *words)
        status, written = ran.ended(), tmp_path / "s.yaml"
        assert "Traceback" not in ran.text
        return status, ran.text, yaml.safe_load(written.read_text()) if written.exists() else None

    return run


def test_what_is_no_domain_and_no_target_is_left_out_and_named(imported):
    status, said, study = imported(MIXTURES, LOSSES, "--json")
    assert status == 0
    found = json.loads(said)
    assert (found["runs"], found["domains"], found["targets"]) == (3, ["code", "web"], ["science"])
    assert found["left_out"] == {
        "empty": "0 in every run",
        "copy": "the same as 'science' in every run",
        "_step": "a tracker's own column by its name",
        "learning_rate": "a tracker's own column by its name",
        "flat": "2 in every run",
    }
    assert (set(study["domains"]), list(study["targets"])) == ({"code", "web"}, ["science"])
    assert set(study["imports"][0]["ignore"]) == set(found["left_out"])
    _, said, _ = imported(MIXTURES, LOSSES, "--keep", "flat")
    assert "2 targets: science, flat" in said
    assert "column '_step' is not taken: a tracker's own column by its name" in said


TWINS = "index,code,web,twin\nr1,0.2,0.6,0.2\nr2,0.4,0.2,0.4\nr3,0.3,0.4,0.3\n"
SCORES = LOSSES.replace("copy", "arc_easy/acc").replace("3.0,3.0", "3.0,0.5")
MEANS = MIXTURES + "mean,0.33,0.67,0\n"
REFUSED = {
    "a score": (MIXTURES, SCORES, "l.csv:1", "leave it out by --ignore 'arc_easy/acc'"),
    "a row of means": (MEANS, LOSSES, "m.csv:5", "remove the row"),
    "weights twice": (TWINS, LOSSES, "m.csv:1", "remove one, or join the two domains"),
}
MENDED = {
    "a score": (MIXTURES, SCORES, "--ignore", "arc_easy/acc"),
    "a row of means": (MIXTURES, LOSSES),
    "weights twice": (MIXTURES, LOSSES),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_spoil_the_regression_is_refused_and_the_remedy_mends_it(imported, case):
    mixtures, losses, where, remedy = REFUSED[case]
    status, said, study = imported(mixtures, losses)
    assert (status, study) == (1, None)
    assert f"error: {where}: " in said
    assert f"remedy: {remedy}" in said or f"; {remedy}" in said
    status, _, study = imported(*MENDED[case])
    assert status == 0
    assert list(study["targets"]) == ["science"]


def test_semicolons_tabs_and_decimal_commas(imported):
    plain = imported(MIXTURES, LOSSES)
    for table in (str.maketrans(",.", ";,"), str.maketrans(",", ";"), str.maketrans(",", "\t")):
        assert imported(MIXTURES.translate(table), LOSSES.translate(table)) == plain
