"""Every remedy here is tried: doing what the message says mends what it complains of."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fuzz_broken import HOMES
from fuzz_commands import ask

AMOUNTS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}
OTHER = {"source": {"jsonl": "text/licences.jsonl"}}
STUDIES = {
    "a field that is misspelt": (
        {"domains.code.capp": 0.5},
        "did you mean cap?",
        {"domains.code.capp": None, "domains.code.cap": 0.5},
    ),
    "a name with spaces": (
        {"domains.Books and more": OTHER},
        "for instance 'books_and_more'",
        {"domains.Books and more": None, "domains.books_and_more": OTHER},
    ),
    "a preset that is none": (
        {"proxies.preset": "regmix-1g"},
        "choose one of regmix-1m, regmix-60m, tinyllama-1b, demo",
        {"proxies.preset": "demo"},
    ),
    "a floor above the cap": (
        {"domains.code.floor": 0.5, "domains.code.cap": 0.2},
        "lower the floor",
        {"domains.code.floor": 0.1},
    ),
    "an address of no file": (
        {"domains.code.source": {"jsonl": "text/cod.jsonl"}},
        "holds code.jsonl",
        {"domains.code.source": {"jsonl": "text/code.jsonl"}},
    ),
    "an address that is a folder": (
        {"domains.code.source": {"jsonl": "text"}},
        "name its files: text/*.jsonl",
        {"domains.code.source": {"jsonl": "text/*.jsonl"}},
    ),
    "the wrong kind of file": (
        {"domains.code.source": {"parquet": "text/code.jsonl"}},
        "write `jsonl: text/code.jsonl`",
        {"domains.code.source": {"jsonl": "text/code.jsonl"}},
    ),
    "another field of text": (
        {"domains.code.source.text_field": "content"},
        "the fields are id, text\n  remedy: set text_field to the field that holds the text",
        {"domains.code.source.text_field": "text"},
    ),
    "no tokenizer": (
        {"tokenizer": {"file": "none.json"}},
        "`tokenizer: {train: {vocab_size: 8192}}`",
        {"tokenizer": {"train": {"vocab_size": 8192}}},
    ),
    "a vocabulary that is too small": ({"proxies.vocabulary": 2}, "leave it out", {"proxies.vocabulary": None}),
    "a group of unknown domains": (
        {"search.groups": [{"domains": ["poems"], "cap": 0.5}]},
        "name domains of the study: code",
        {"search.groups": [{"domains": ["code"], "cap": 0.5}]},
    ),
    "too few mixtures": ({"mixtures.count": 4}, "raise it by 3 or more", {"mixtures.count": 7}),
    "more tokens than there are": (
        {"limits.target_tokens": 25 * 10**9},
        "state what the large run has as available_tokens of the domains",
        {f"domains.{name}.available_tokens": 10**10 for name in ("code", "licences", "descriptions")},
    ),
}


def planned(study_file):
    """`regmix plan` looks at all of a study, and makes nothing."""
    return ask(["plan", "--teraflops", "1", "--study", str(study_file), "--home", str(study_file.parent / "home")])


@pytest.mark.parametrize("label", STUDIES)
def test_a_study_is_mended_as_the_message_says(study_file, change_study, label):
    wrong, remedy, mended = STUDIES[label]
    change_study(wrong)
    refused = planned(study_file)
    assert (refused.status, refused.fault) == (1, "")
    assert remedy in refused.err
    change_study(mended)
    assert planned(study_file).status == 0


def test_target_tokens_are_lowered_to_what_the_message_says(study_file, change_study):
    change_study({"limits.target_tokens": 25 * 10**9})
    number, unit = re.search(r"remedy: lower it to less than ([\d.]+) ?([kMB]?)", planned(study_file).err).groups()
    change_study({"limits.target_tokens": int(float(number) * AMOUNTS[unit] * 0.99)})
    assert planned(study_file).status == 0


def test_epochs_are_raised_to_what_the_message_says(study_file, change_study):
    change_study({"limits.max_epochs": 1e-9})
    said = planned(study_file).err
    assert "lower it" not in said
    (number,) = re.findall(r"remedy: raise limits.max_epochs to ([\d.]+) or more", said)
    change_study({"limits.max_epochs": float(number)})
    assert planned(study_file).status == 0


TEXTS = {
    "a name that is a number": (
        lambda text: text.replace("domains:\n", "domains:\n  2024: {source: {jsonl: text/code.jsonl}}\n"),
        "the field '2024' is not a name\n  remedy: put it in quotes",
        lambda text: text.replace("2024", "'2024'"),
    ),
    "a field twice": (
        lambda text: text + "seed: 8\n",
        "remedy: rename or remove one of them",
        lambda text: text.removesuffix("seed: 8\n"),
    ),
    "another encoding": (
        lambda text: text.replace("description: ", "description: é ").encode("latin-1"),
        "remedy: save the file as UTF-8",
        lambda text: text,
    ),
    "a control character": (lambda text: "\x07" + text, "remedy: remove it", lambda text: text.replace("\x07", "")),
}


@pytest.mark.parametrize("label", TEXTS)
def test_the_text_of_a_study_is_mended_as_the_message_says(study_file, label):
    spoil, remedy, mend = TEXTS[label]
    spoilt = spoil(study_file.read_text())
    study_file.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    refused = planned(study_file)
    assert (refused.status, refused.fault) == (1, "")
    assert remedy in refused.err
    study_file.write_text(mend(spoilt.decode("latin-1") if isinstance(spoilt, bytes) else spoilt), encoding="utf-8")
    assert planned(study_file).status == 0


def test_documents_are_mended_as_the_message_says(study_file):
    path = study_file.parent / "text" / "code.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for spoilt, remedy, mended in (
        ("".join(lines).encode("utf-16"), "iconv -f utf-16 -t utf-8", "".join(lines)),
        (b'{"text": "half\n' + "".join(lines).encode(), "one JSON object per line", "".join(lines)),
        (b'{"text": null}\n' + "".join(lines).encode(), "leave those without text out", "".join(lines)),
    ):
        path.write_bytes(spoilt)
        refused = planned(study_file)
        assert (refused.status, refused.fault) == (1, "")
        assert remedy in refused.err
        path.write_text(mended)
        assert planned(study_file).status == 0


def write_tables(folder, losses):
    """Runs of two domains of the tiny study, with columns of losses."""
    weights = np.random.default_rng(0).dirichlet([1.0, 1.0], 12)
    tables = {
        "m.csv": (["code", "licences"], weights),
        "l.csv": (losses, (weights @ [1.0, 2.0])[:, None] + np.arange(len(losses)) + 2),
    }
    for name, (columns, rows) in tables.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(
                [["index", *columns], *([number, *row] for number, row in enumerate(rows.tolist()))]
            )


def test_imports_are_mended_as_the_message_says(study_file, tmp_path):
    write_tables(tmp_path, ["science", "code", "runtime"])
    words = ["import-runs", str(tmp_path / "m.csv"), str(tmp_path / "l.csv")]
    refused = ask([*words, "--study", str(study_file)])
    assert (refused.status, refused.fault) == (1, "")
    assert "--ignore 'runtime'" in refused.err
    assert ask([*words, "--study", str(study_file), "--ignore", "runtime"]).status == 0
    written = str(tmp_path / "s.yaml")
    assert ask([*words, "--write", written]).status == 0
    refused = ask([*words, "--write", written])
    assert "name another with --write" in refused.err
    assert ask([*words, "--write", str(tmp_path / "t.yaml")]).status == 0
    refused = ask([*words, "--write", str(tmp_path / "u.yaml"), "--target", "poems"])
    assert "choose one of science, code" in refused.err
    assert ask([*words, "--write", str(tmp_path / "u.yaml"), "--target", "code"]).status == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a study of imported runs and its finished home."""
    folder = tmp_path_factory.mktemp("finished")
    write_tables(folder, ["science"])
    study = str(folder / "s.yaml")
    assert ask(["import-runs", str(folder / "m.csv"), str(folder / "l.csv"), "--write", study]).status == 0
    assert ask(["run", "--study", study, "--home", str(folder / "home")]).status == 0
    return folder


DAMAGES = {
    "record that is a list": "explain code",
    "current gone": "explain code",
    "tables gone": "export --format regmix --unapproved --out x.yaml",
    "decision of another shape": "run",
    "decision cut short": "export --format regmix --unapproved --out x.yaml",
    "inventory damaged": "explain code",
    "regressors gone": "explain code",
    "ledger that is a folder": "run",
    "dagster.yaml damaged": "run",
    "event log damaged": "run",
}
"""Label of a damage -> the command that complains of it."""


MINUTES = [pytest.param(label, marks=pytest.mark.slow) for label in list(DAMAGES)[2:]]


@pytest.mark.parametrize("label", [*list(DAMAGES)[:2], *MINUTES])
def test_a_home_is_mended_as_the_message_says(finished, tmp_path, monkeypatch, label):
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    shutil.copytree(finished / "home", home)
    HOMES[label](home)
    about = ["--study", str(finished / "s.yaml"), "--home", str(home)]
    refused = ask([*DAMAGES[label].split(), *about])
    assert (refused.status, refused.fault) == (1, "")
    where, remedy = re.search(r"error: (\S+): .*\n  remedy: (.*)", refused.err).groups()
    if "delete it" in remedy:
        Path(where).unlink()
    elif "move it away" in remedy:
        Path(where).rename(tmp_path / "away")
    elif "restore the file" in remedy:
        for path in (finished / "home").rglob("*"):
            copy = home / path.relative_to(finished / "home")
            if path.is_file() and not (copy.is_file() and copy.read_bytes() == path.read_bytes()):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    else:
        assert "`regmix run`" in remedy
    assert ask(["run", *about]).status == 0
    assert ask([*DAMAGES[label].split(), *about]).status == 0
    assert ask(["audit", *about]).status == 0


def test_an_explanation_without_its_record_is_mended_as_the_message_says(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    shutil.copytree(finished / "home", home)
    about = ["--study", str(finished / "s.yaml"), "--home", str(home)]
    for path in home.glob("records/history/regressor/all/*.json"):
        path.unlink()
        path.write_text("{")
    # The current record is the same, under another name.
    assert ask(["explain", "code", *about]).status == 0
    (home / "records/current/regressor/all.json").write_text("{")
    refused = ask(["explain", "code", *about])
    assert (refused.status, refused.fault) == (1, "")
    assert "remedy: `regmix run` makes it again" in refused.err
    assert ask(["run", *about]).status == 0
    assert ask(["explain", "code", *about]).status == 0
