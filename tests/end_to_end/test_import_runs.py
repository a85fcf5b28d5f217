"""`regmix import-runs` about tables as trackers and spreadsheets export them, and what it says of them."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app

MIXTURES = """index,code,web,empty
r1,0.2,0.8,0
r2,0.5,0.5,0
r3,0.3,0.7,0
"""
LOSSES = """index,science,copy,_runtime,learning_rate,flat
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
        "_runtime": "a tracker's own column by its name",
        "learning_rate": "a tracker's own column by its name",
        "flat": "2 in every run",
    }
    assert (set(study["domains"]), list(study["targets"])) == ({"code", "web"}, ["science"])
    assert set(study["imports"][0]["ignore"]) == set(found["left_out"])
    _, said, _ = imported(MIXTURES, LOSSES, "--keep", "flat")
    assert "2 targets: science, flat" in said
    assert "column '_runtime' is not taken: a tracker's own column by its name" in said


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


RUNS = [f"r{number}" for number in range(12)]
DOMAINS = ["web", "code", "books"]
WEIGHTS = [[(2 + n) / 32, (1 + 7 * n % 12) / 32, (29 - n - 7 * n % 12) / 32] for n in range(12)]
VALUES = [round(3 + 0.02 * (n - 5) ** 2, 4) for n in range(12)]
"""Twelve runs: weights, and a loss that is least in the middle."""


def csv_of(header, rows, delimiter=","):
    return "".join(delimiter.join(map(str, row)) + "\n" for row in [header, *rows])


WEIGHT_ROWS = [[run, *row] for run, row in zip(RUNS, WEIGHTS, strict=True)]
LOSS_ROWS = [[run, value] for run, value in zip(RUNS, VALUES, strict=True)]
PLAIN = csv_of(["run", *DOMAINS], WEIGHT_ROWS), csv_of(["run", "science"], LOSS_ROWS)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Write tables by name, as text, bytes or frames, and ask: (status, JSON or what was said, the study written)."""
    monkeypatch.chdir(tmp_path)

    def run(tables, *words):
        for name, table in tables.items():
            if isinstance(table, str | bytes):
                (tmp_path / name).write_bytes(table.encode() if isinstance(table, str) else table)
            else:
                table.to_parquet(tmp_path / name)
        written = tmp_path / "s.yaml"
        written.unlink(missing_ok=True)
        ran = CliRunner().invoke(app, ["import-runs", *tables, "--write", "s.yaml", "--json", *words])
        assert ran.exception is None or isinstance(ran.exception, SystemExit)
        said = json.loads(ran.output) if ran.exit_code == 0 else ran.output
        return ran.exit_code, said, yaml.safe_load(written.read_text()) if written.exists() else None

    return run


def with_facts(**facts):
    """The table of losses with further columns, each a function of the run's number."""
    rows = [[*row, *(said(n) for said in facts.values())] for n, row in enumerate(LOSS_ROWS)]
    return {"m.csv": PLAIN[0], "l.csv": csv_of(["run", "science", *facts], rows)}


def test_runs_keep_their_tokens_and_seeds_and_domains_their_available_tokens(asked, tmp_path):
    tables = with_facts(num_tokens=lambda n: "20B", seed=lambda n: n % 2)
    (tmp_path / "a.csv").write_text("domain,available_tokens\nweb,40B\ncode,1e10\nbooks,2000000000\n")
    status, found, study = asked(tables, "--available", "a.csv")
    assert (status, found["columns"]) == (0, {"tokens": "num_tokens", "seed": "seed"})
    assert study["domains"]["code"] == {"available_tokens": 10**10}
    assert study["imports"][0]["columns"] == {"tokens": "num_tokens", "seed": "seed"}
    (tmp_path / "a.csv").write_text("domain,available_tokens\nweb,40B\ncode,1e10\npoems,2\n")
    status, said, study = asked(tables, "--available", "a.csv")
    assert (status, study) == (1, None)
    assert "a.csv:4: 'poems' is not a domain of the runs" in said


def test_of_two_model_sizes_one_is_fitted_and_the_command_says_which(asked):
    tables = with_facts(params=lambda n: "1M" if n < 8 else "60M", tokens=lambda n: "1B" if n < 8 else "3B")
    status, found, study = asked(tables)
    assert status == 0
    (note,) = found["notes"]
    assert "8 runs are fitted, those of 1.00 M parameters; the other 4 show how far rankings carry over" in note
    assert "imported_size" not in study
    _, found, study = asked(tables, "--size", "60000000")
    assert "4 runs are fitted, those of 60.0 M parameters; the other 8" in found["notes"][0]
    assert study["imported_size"] == 60_000_000
    status, said, study = asked(tables, "--size", "5000000")
    assert (status, study) == (1, None)
    assert "no imported run has 5,000,000 parameters" in said
    assert "choose one of 1,000,000, 60,000,000" in said


def test_percentages_are_read_where_every_row_is_one(asked):
    rows = [[run, *(round(100 * part, 4) for part in row)] for run, row in zip(RUNS, WEIGHTS, strict=True)]
    status, found, study = asked({"m.csv": csv_of(["run", *DOMAINS], rows), "l.csv": PLAIN[1]})
    assert (status, found["notes"]) == (0, ["weights are percentages: every row sums to 100"])
    assert study["domains"] == asked({"m.csv": PLAIN[0], "l.csv": PLAIN[1]})[2]["domains"]
    status, said, _ = asked({"m.csv": csv_of(["run", *DOMAINS], [*rows[:-1], WEIGHT_ROWS[-1]]), "l.csv": PLAIN[1]})
    assert status == 1
    assert "m.csv:2: the weights sum to 100.0000" in said


def test_spreadsheets_byte_order_marks_and_decimal_commas(asked):
    plain = asked({"m.csv": PLAIN[0], "l.csv": PLAIN[1]})
    european = [text.translate(str.maketrans(",.", ";,")) for text in PLAIN]
    marked = {name: b"\xef\xbb\xbf" + text.encode() for name, text in zip(("m.csv", "l.csv"), european, strict=True)}
    assert asked(marked) == plain


def test_an_index_without_a_name_is_no_domain_and_an_id_only_where_it_names_runs(asked):
    plain = asked({"m.csv": PLAIN[0], "l.csv": PLAIN[1]})
    numbered = csv_of(["Unnamed: 0", "run", *DOMAINS], [[n, *row] for n, row in enumerate(WEIGHT_ROWS)])
    assert asked({"m.csv": numbered, "l.csv": PLAIN[1]}) == plain
    unnamed = {"m.csv": csv_of(["", *DOMAINS], WEIGHT_ROWS), "l.csv": csv_of(["", "science"], LOSS_ROWS)}
    assert asked(unnamed) == plain
    rows = {
        "m.csv": csv_of(["", *DOMAINS], [[n, *row] for n, row in enumerate(WEIGHTS)]),
        "l.csv": csv_of(["", "science"], list(enumerate(VALUES))),
    }
    status, said, study = asked(rows)
    assert (status, study) == (1, None)
    assert "it numbers rows: rows are joined by id, never by order" in said
    assert "call the column `run`" in said


def test_ids_keep_their_leading_zeros_or_are_refused(asked):
    named = [[f"{n:03}", *row] for n, row in enumerate(WEIGHTS)]
    kept = csv_of(["run", "science"], [[f"{n:03}", value] for n, value in enumerate(VALUES)])
    assert asked({"m.csv": csv_of(["run", *DOMAINS], named), "l.csv": kept})[0] == 0
    lost = csv_of(["run", "science"], list(enumerate(VALUES)))
    status, said, _ = asked({"m.csv": csv_of(["run", *DOMAINS], named), "l.csv": lost})
    assert status == 1
    assert "first run '000'; there it is '0'" in said
    assert "with their leading zeros" in said


PARTIAL = {
    "a loss is missing": ({"other": lambda n: 3.0 + n / 99 if n != 4 else ""}, "'other' holds nothing", "no 'other'"),
    "fewer tokens": ({"tokens": lambda n: "1B" if n != 4 else "900M"}, "'r4' is partial", "it has 900,000,000 tokens"),
    "fewer steps": ({"_step": lambda n: 500 if n != 4 else 450}, "'r4' is partial", "it has 450 steps"),
    "it crashed": ({"State": lambda n: "finished" if n != 4 else "crashed"}, "'r4' is partial", "is 'crashed'"),
}


@pytest.mark.parametrize("case", PARTIAL)
def test_partial_runs_are_refused_unless_a_flag_says_what_becomes_of_them(asked, case):
    facts, problem, why = PARTIAL[case]
    status, said, study = asked(with_facts(**facts))
    assert (status, study) == (1, None)
    assert "l.csv:6: " in said
    assert problem in said
    assert "--partial leave_out" in said
    status, found, study = asked(with_facts(**facts), "--partial", "leave_out")
    assert (status, found["runs"], study["imports"][0]["partial"]) == (0, 11, "leave_out")
    assert "1 partial runs are left out: r4" in found["notes"][0]
    assert why in found["notes"][0]
    status, found, _ = asked(with_facts(**facts), "--partial", "keep")
    assert (status, found["runs"] if status == 0 else None) == ((1, None) if "loss" in case else (0, 12))


def test_parquet_and_json_lines_say_what_csv_says(asked):
    import pandas as pd

    plain = asked({"m.csv": PLAIN[0], "l.csv": PLAIN[1]})
    frame = pd.DataFrame(WEIGHTS, columns=DOMAINS)
    lines = "".join(json.dumps({"run": run, "science": value}) + "\n" for run, value in LOSS_ROWS)
    for weights in (frame.assign(run=RUNS), frame.set_index(pd.Index(RUNS, name="run"))):
        status, found, study = asked({"m.parquet": weights, "l.jsonl": lines})
        assert (status, found) == plain[:2]
        assert study["domains"] == plain[2]["domains"]
    status, said, _ = asked({"m.parquet": b"PAR1 no", "l.jsonl": lines})
    assert (status, "m.parquet: not Parquet" in said) == (1, True)
    status, said, _ = asked({"m.csv": PLAIN[0], "l.jsonl": lines + "{oops\n"})
    assert (status, "l.jsonl:13: not JSON" in said) == (1, True)


def test_a_trackers_export_is_one_table_of_weights_losses_and_the_rest(asked):
    export = csv_of(
        ["Name", "ID", "State", "Notes", "Created", *(f"mix.{name}" for name in DOMAINS), "eval/science/loss", "_step"],
        [
            [f"swift-owl-{n}", f"x{n}", "finished", "", "2026-01-01", *WEIGHTS[n], VALUES[n], 500]
            for n in range(len(RUNS))
        ],
    )
    status, said, _ = asked({"runs.csv": export})
    assert (status, "nothing says which columns are which" in said) == (1, True)
    words = "--domains", "mix.*", "--targets", "eval/*/loss"
    status, found, study = asked({"runs.csv": export}, *words)
    assert (status, found["domains"], found["targets"]) == (0, sorted(DOMAINS), ["science"])
    assert found["columns"] == {"step": "_step", "state": "State"}
    assert study["domains"] == asked({"m.csv": PLAIN[0], "l.csv": PLAIN[1]})[2]["domains"]
    status, said, _ = asked({"runs.csv": export}, "--domains", "weight.*", "--targets", "eval/*/loss")
    assert (status, "no column is called as in weight.*" in said) == (1, True)


def test_of_a_history_the_last_step_counts(asked):
    rows = [
        {"run": run, "_step": step, "science": value + (900 - step) / 1000}
        for run, value in LOSS_ROWS
        for step in (300, 900, 600)
    ]
    history = "".join(json.dumps(row) + "\n" for row in [*rows, {"run": "r1", "_step": 950}])
    status, found, _ = asked({"m.csv": PLAIN[0], "l.jsonl": history})
    assert (status, found["runs"], found["columns"]) == (0, 12, {"step": "_step"})
    status, said, _ = asked({"m.csv": PLAIN[0], "l.jsonl": history.replace("_step", "_at")})
    assert (status, "'r0' appears twice, first in line 1" in said) == (1, True)
    status, said, _ = asked({"m.csv": PLAIN[0], "l.jsonl": history + json.dumps(rows[1] | {"science": 2}) + "\n"})
    assert (status, "losses at step 900 twice, first in line 2" in said) == (1, True)
