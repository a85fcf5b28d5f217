"""Every command answers, or says in one line what is wrong: with broken studies, broken homes and odd options."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from fuzz_broken import FIELDS, HOMES, STUDIES, with_field
from fuzz_commands import Answer, ask, commands, words_of
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.cli import starting
from regmix_pipeline.numbers import amount

EVERY = [name for name in commands() if name not in ("schema", "init")]
"""Commands that read a study."""
QUICK = [name for name in EVERY if name not in ("run", "refit", "compare", "ui", "mcp", "import-runs", "mixtures")]
"""Those that train nothing, serve nothing and write no study."""
LOOKING = [name for name in QUICK if name not in ("approve", "reject")]
FEASIBLE = {"high floors"}
"""Odd fields that a study may have."""
ODD_IDS = ("", "nonsense", "../../etc", "*", "a/b", "x" * 300, "previous", "\n")
BAD_OPTIONS = {
    "plan": ["--hardware nope", "--teraflops nan", "--teraflops inf", "--teraflops 0", "--devices 0", "--devices 3"],
    "train": ["--slice x", "--slice 0/0", "--slice 3/2", "--slice 1/0", "--slice -1/2", "--from /nowhere", "--publish"],
    "export": ["--format nope", "--tokens 0", "--tokens -5", "--seed x", "--out /nowhere/x", "--unapproved --out text"],
    "lineage": ["--format nope", "--out /nowhere/x", "--send", "--send --format prov", "--out text"],
    "run": ["--workers 0", "--workers x", "--nonsense"],
    "refit": ["--max-new-tokens -1"],
    "ui": ["--port x"],
    "mcp": ["--port x", "--port 0"],
    "predict": ["--level x", "--level 2", "--level nan", "--decision nonsense", "--mixture {", "--mixture code=x"],
    "surface": ["--decision nonsense"],
    "init": ["--tokens 0", "--target nope", "--out text/code.jsonl"],
    "import-runs": ["--target nope"],
}


@pytest.fixture(scope="module")
def place(finished_study, tmp_path_factory):
    """A folder with the study, its text and its finished home; the working folder meanwhile."""
    folder = shutil.copytree(finished_study, tmp_path_factory.mktemp("fuzz") / "study")
    (folder / "weights.csv").write_text("a,b\n1,2\n")
    (folder / "losses.csv").write_text("c\n")
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture
def copied(place):
    """A copy of the finished home, of links to its files: whoever breaks one replaces it."""
    home = place / "copy"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(place / "home", home, copy_function=os.link)
    return home


def in_turn(names: list[str], number: int, count: int) -> list[str]:
    """Some of the commands: over all the cases, each meets several."""
    return [names[(number * count + each) % len(names)] for each in range(count)]


def faults_of(answers: list[Answer]) -> list[str]:
    return [f"{' '.join(answer.words)[:120]}: {answer.fault}" for answer in answers if answer.fault]


@pytest.mark.parametrize("label", STUDIES)
def test_a_file_that_is_no_study_is_named(place, label):
    path = place / "broken.yaml"
    path.write_bytes(STUDIES[label])
    answers = [ask(words_of(name, path, place / "none")) for name in in_turn(EVERY, list(STUDIES).index(label), 4)]
    assert faults_of(answers) == []
    assert [answer.words for answer in answers if answer.status != 1] == []
    assert all("broken.yaml" in answer.err or answer.words[0] == "import-runs" for answer in answers)
    assert not (place / "none").exists()


@pytest.mark.parametrize("path", ["missing.yaml", "text", "/dev/null", "/proc/self/mem", "x" * 5000])
def test_a_study_that_is_no_file_is_named_by_every_command(place, path):
    answers = [ask(words_of(name, path, place / "none")) for name in EVERY]
    assert faults_of(answers) == []
    assert [answer.words for answer in answers if answer.status != 1] == []


@pytest.mark.parametrize("label", FIELDS)
def test_a_study_that_cannot_run_is_refused_by_plan_as_by_run(place, tiny_settings, label):
    field, value = FIELDS[label]
    path = place / "field.yaml"
    path.write_text(yaml.safe_dump(with_field(tiny_settings, field, value), sort_keys=False))
    planned = ask(words_of("plan", path, place / "none", ("--teraflops", "1")))
    (name,) = in_turn(["status", "train", "audit", "diff"], list(FIELDS).index(label), 1)
    assert faults_of([planned, ask(words_of(name, path, place / "none"))]) == []
    assert planned.status == (0 if label in FEASIBLE else 1)
    if planned.status:
        ran = ask(words_of("run", path, place / "none"))
        assert ran.fault == ""
        assert error_of(ran) == error_of(planned)
    assert not (place / "none" / "tokenizers").exists()


def error_of(answer: Answer) -> str:
    return answer.err[answer.err.index("error: ") :]


FIELDS_OF_THE_STUDY = [
    ("seed",), ("domains",), ("domains", "code"), ("domains", "code", "source"), ("domains", "code", "cap"),
    ("targets",), ("targets", "science", "weight"), ("tokenizer",), ("tokenizer", "train", "vocab_size"),
    ("shards", "validation_fraction"), ("mixtures", "count"), ("mixtures", "minimum"), ("mixtures", "anchors"),
    ("proxies",), ("proxies", "model"), ("proxies", "model", "context"), ("proxies", "training", "tokens"),
    ("proxies", "noise", "mixtures"), ("limits", "target_tokens"), ("limits", "max_epochs"), ("confirmation",),
    ("regression",), ("search",), ("search", "groups"), ("changes",), ("imports",), ("watch",), ("refit", "cron"),
    ("strategies",), ("alternatives",),
]  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(-2, 9), st.floats(), st.text(max_size=9),
    st.lists(st.integers(-1, 3), max_size=2), st.dictionaries(st.sampled_from(["a", "code", "cap"]), st.floats(0, 1)),
)  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(field=st.sampled_from(FIELDS_OF_THE_STUDY), value=VALUES)
def test_any_value_in_any_field_is_planned_or_refused(place, tiny_settings, field, value):
    path = place / "any.yaml"
    path.write_text(yaml.safe_dump(with_field(tiny_settings, ".".join(field), value), sort_keys=False))
    assert faults_of([ask(words_of("plan", path, place / "none", ("--teraflops", "1")))]) == []


@pytest.mark.parametrize("label", HOMES)
def test_a_broken_home_is_named_or_does_no_harm(place, copied, label):
    HOMES[label](copied)
    # Each damage meets the commands that read most, and one more in turn.
    answers = []
    for name in dict.fromkeys(("status", "plan", "audit", *in_turn(LOOKING, list(HOMES).index(label), 1))):
        more = {"plan": ("--teraflops", "1"), "export": ("--unapproved",)}.get(name, ())
        answers.append(ask(words_of(name, place / "tiny.yaml", copied, more)))
    assert faults_of(answers) == []


@pytest.mark.parametrize("label", ["record cut short", "mixtures gone", "decision cut short"])
def test_a_run_in_a_broken_home_mends_it_or_names_the_file(place, label):
    home = place / "repaired"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(place / "home", home)
    HOMES[label](home)
    assert ask(words_of("run", place / "tiny.yaml", home)).fault == ""


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_no_home_at_all(place, kind):
    home = place / f"home-{kind}"
    if kind == "file":
        home.write_text("a file")
    elif kind == "empty":
        home.mkdir(exist_ok=True)
    names = EVERY if kind == "file" else QUICK
    answers = [ask(words_of(name, place / "tiny.yaml", home)) for name in names if name != "plan"]
    answers.append(ask(words_of("plan", place / "tiny.yaml", home, ("--teraflops", "1"))))
    assert faults_of(answers) == []


def test_a_fresh_clone_with_nothing_fetched(tmp_path):
    demo = os.path.join(os.path.dirname(starting.__file__), "..", "..", "studies", "demo.yaml")
    options = ("--data", str(tmp_path / "data"))
    answers = [ask(words_of("status", demo, tmp_path / "home", options))]
    answers.append(ask(words_of("plan", demo, tmp_path / "home", (*options, "--teraflops", "1"))))
    answers += [ask(words_of(name, demo, tmp_path / "home")) for name in QUICK if name not in ("plan", "status")]
    assert faults_of(answers) == []
    assert [answer.status for answer in answers[:2]] == [0, 0]
    assert {answer.status for answer in answers[2:]} == {1}


def test_a_domain_that_is_deleted_from_the_file(place, copied, tiny_settings):
    fewer = tiny_settings | {"domains": {name: tiny_settings["domains"][name] for name in ("code", "descriptions")}}
    (place / "fewer.yaml").write_text(yaml.safe_dump(fewer, sort_keys=False))
    answers = [ask(words_of(name, place / "fewer.yaml", copied)) for name in LOOKING if name != "plan"]
    assert faults_of(answers) == []
    sliced = ask(words_of("train", place / "fewer.yaml", copied, ("--slice", "1/2")))
    assert "licences, which the study no longer has" in sliced.err


@pytest.mark.parametrize("name", sorted(BAD_OPTIONS))
def test_bad_options_are_named(place, copied, name):
    answers = [
        ask(words_of(name, place / "tiny.yaml", copied, tuple(options.split()))) for options in BAD_OPTIONS[name]
    ]
    assert faults_of(answers) == []


@pytest.mark.parametrize("name", ["audit", "approve", "reject", "export", "lineage", "diff"])
def test_odd_names_of_decisions_are_answered(place, copied, name):
    assert faults_of([ask([name, odd, "--study", "tiny.yaml", "--home", str(copied)]) for odd in ODD_IDS]) == []
    assert (
        faults_of([ask(["explain", odd, "--study", "tiny.yaml", "--home", str(copied)]) for odd in ODD_IDS[:6]]) == []
    )


@pytest.mark.parametrize("columns", ["80", "60"])
def test_no_value_is_cut_short_in_a_narrow_terminal(place, copied, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    unapproved = ("--unapproved", "--tokens", "123456", "--out", f"out-{columns}")
    lines = {
        "plan": ("--teraflops", "1"), "status": (), "explain": (), "audit": ("--no-contents",), "export": unapproved,
    }  # fmt: skip
    answers = {name: ask(words_of(name, place / "tiny.yaml", copied, more)) for name, more in lines.items()}
    (place / f"study-{columns}.yaml").unlink(missing_ok=True)
    answers["init"] = ask(["init", "text", "--out", f"study-{columns}.yaml"])
    for name, answer in answers.items():
        assert answer.status == 0, answer
        assert not set("…─│┃━") & set(answer.out), answer.out
        assert "..." not in answer.out, name
    planned = json.loads(ask(words_of("plan", place / "tiny.yaml", copied, ("--teraflops", "1", "--json"))).out)
    for work in planned["works"]:
        shown = [f"models {work['models']}", f"{work['flops']:.2e}".replace("e+", "e"), amount(work["parameters"])]
        assert all(value in answers["plan"].out or value.split()[-1] in answers["plan"].out for value in shown)
    decision = json.loads(ask(words_of("audit", place / "tiny.yaml", copied, ("--no-contents", "--json"))).out)
    for row in decision["record"]["predictions"]:
        assert row["mixture"] in answers["audit"].out
    for row in json.loads((place / f"out-{columns}.plan.json").read_text())["domains"]:
        assert f"{row['tokens']:,}" in answers["export"].out


def test_every_command_has_a_help_page():
    for name in commands():
        answer = ask([name, "--help"])
        assert answer.status == 0
        assert "Usage" in answer.out


def test_what_nobody_foresaw_is_one_line_and_a_file(place, monkeypatch):
    monkeypatch.setattr("regmix_pipeline.engine.opened.load_study", lambda path, changes=(): {}["a secret"])
    answer = ask(words_of("status", place / "tiny.yaml", place / "home"))
    assert answer.status == 70
    assert "Traceback" not in answer.out + answer.err
    said = answer.err.replace("\n", " ")
    assert said.startswith("error: unexpected KeyError: 'a secret' (a fault of regmix-pipeline); details in ")
    path = said.split("details in ")[1].split()[0]
    with open(path) as file:
        assert "Traceback" in file.read()
    os.unlink(path)


def test_the_real_command_ends_alike(place, copied):
    def real(*words):
        command = [sys.executable, "-m", "regmix_pipeline.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    (place / "broken.yaml").write_text("name: [a\n")
    for words in (["status", "--study", "broken.yaml"], ["plan", "--study", "tiny.yaml", "--home", "tiny.yaml"]):
        result = real(*words)
        assert result.returncode == 1, result
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.stderr
    assert real("nonsense").returncode == 2
    whole = real("status", "--study", "tiny.yaml", "--home", "home", "--json")
    assert json.loads(whole.stdout)["to_fetch"] == []
