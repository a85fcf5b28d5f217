"""Ten blends, five of them with a fault each: the audit names every fault, and no other."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.blends.audit import audit_blend
from regmix_pipeline.blends.blend import Blend, Source
from regmix_pipeline.blends.faults import in_the_run
from regmix_pipeline.blends.read import read_blend
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.search.region import natural_inside

TOKENS = "source,tokens,documents\nweb,60e9,60e6\ncode,20e9,2e6\nwiki,5e9,6_000_000\n"
BUDGET = 25e9

SOUND = {
    "blend.txt": "0.7 /data/web_text_document 0.2 /data/code_text_document 0.1 /data/wiki_text_document\n",
    "nemo.yaml": "model:\n  data:\n    data_prefix: [70, web, 20, code, 10, wiki]\n    seq_length: 4096\n",
    "olmo.yaml": (
        "sources:\n"
        "- {source_name: web, target_ratio: 0.7, paths: [s3://data/web/*.npy], max_repetition_ratio: 1.0}\n"
        "- {source_name: code, target_ratio: 0.2, paths: [s3://data/code/*.npy]}\n"
        "- {source_name: wiki, target_ratio: 0.1, paths: [s3://data/wiki/*.npy]}\n"
    ),
    "titan.py": (
        "from torchtitan.hf_datasets.text_datasets import HFDataSource\n\n"
        "SOURCES = [\n    HFDataSource(dataset='web', weight=0.7),\n    HFDataSource(dataset='code', weight=0.2),\n"
        "    HFDataSource(dataset='wiki', weight=0.1, infinite=True),\n]\n"
    ),
    "table.csv": "source;weight\nweb;70%\ncode;20%\nwiki;10%\n",
}
BROKEN = {
    # A published kind of mistake: a weight meant for a small run, kept for a large one.
    "epochs.txt": ("0.05 web 0.05 code 0.9 wiki", [("epochs", "wiki")]),
    "sum.yaml": ("train: {train_web: 0.7, train_code: 0.2, train_wiki: 0.2}\n", [("sum", "sum.yaml")]),
    "olmo.yaml": (
        "sources:\n- {source_name: web, target_ratio: 0.7}\n- {source_name: code, target_ratio: 0.2}\n"
        "- {source_name: wiki, target_ratio: 0.099}\n",
        [("sum", "olmo.yaml")],
    ),
    "rounded.json": ('{"weights": {"web": 0.8, "code": 0.2, "wiki": 0.0}}', [("unused", "wiki")]),
    "documents.csv": ("name,weight\nweb,0.88\ncode,0.03\nwiki,0.09\n", [("documents", "documents.csv")]),
    "twice.py": (
        "WEIGHTS = {'web': 0.7, 'code': 0.2, 'wiki': 0.05}\n".replace("'wiki': 0.05", "'wiki': 0.1, 'wiki': 0.0000001"),
        [("repeated", "wiki"), ("unused", "wiki")],
    ),
}


def audited(folder, name, text, **options):
    (folder / name).write_text(text)
    (folder / "tokens.csv").write_text(TOKENS)
    return audit_blend(folder / name, counts=folder / "tokens.csv", **{"budget": BUDGET, **options})


@pytest.mark.parametrize("name", [name for name in SOUND if name != "blend.txt"])
def test_a_sound_blend_has_no_fault(tmp_path, name):
    found = audited(tmp_path, name, SOUND[name])
    assert found.faults == ()
    assert {row.name: round(row.share, 6) for row in found.rows} == {"web": 0.7, "code": 0.2, "wiki": 0.1}
    assert {row.name: round(row.epochs, 3) for row in found.rows} == {"web": 0.292, "code": 0.25, "wiki": 0.5}


def test_a_list_of_prefixes_is_read_though_nobody_counted_them(tmp_path):
    found = audited(tmp_path, "blend.txt", SOUND["blend.txt"])
    assert found.faults == ()
    assert any("tokens are not known" in note for note in found.notes)


@pytest.mark.parametrize("name", BROKEN)
def test_every_fault_is_named_and_no_other(tmp_path, name):
    text, faults = BROKEN[name]
    found = audited(tmp_path, name, text)
    assert [(fault.kind, fault.where.rpartition("/")[2]) for fault in found.faults] == faults
    assert all(fault.remedy for fault in found.faults)


def test_four_thousand_epochs_of_a_small_source_are_said_in_numbers(tmp_path):
    (tmp_path / "blend.txt").write_text("0.95 web 0.05 small")
    (tmp_path / "tokens.json").write_text('{"web": 20e12, "small": 130e6}')
    [fault] = audit_blend(tmp_path / "blend.txt", counts=tmp_path / "tokens.json", budget=10.4e12).faults
    assert fault.kind == "epochs"
    assert "is read 4e+03 times: 520 B tokens are drawn of 130 M" in fault.problem


def test_chances_of_a_document_become_shares_of_tokens(tmp_path):
    found = audited(tmp_path, "documents.csv", BROKEN["documents.csv"][0], of_documents=True)
    assert {row.name: round(row.share, 2) for row in found.rows} == {"web": 0.7, "code": 0.24, "wiki": 0.06}
    assert found.faults == ()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("blend.csv", "source,weight\nweb,much\n", "blend.csv:2: 'much' is not a weight"),
        ("blend.csv", "source,weight\nweb,0.5\ncode,-0.5\n", "blend.csv:3: '-0.5' is not a weight"),
        ("blend.csv", "source,weight\nweb,0.5\ncode,\n", "blend.csv:3: a row without a weight"),
        ("blend.yaml", "web: 0.5\nweb: 0.5\n", "blend.yaml:2: 'web' is given twice"),
        ("blend.yaml", "web: [0.5\n", "blend.yaml:2: not valid YAML"),
        ("blend.yaml", "title: no blend\n", "is not a blend in any of the formats"),
        ("blend.json", "", "is not a blend in any of the formats"),
    ],
)
def test_a_file_that_is_no_blend_is_refused_with_its_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(MixtureError, match=r".") as refused:
        read_blend(tmp_path / name)
    assert said in str(refused.value)


@given(
    st.lists(st.floats(0.001, 1), min_size=1, max_size=8),
    st.floats(1e6, 1e13),
    st.lists(st.floats(1e3, 1e12), min_size=8, max_size=8),
)
def test_shares_and_tokens_of_a_run_add_up(weights, budget, available):
    sources = tuple(Source(f"s{number}", weight, "", available[number]) for number, weight in enumerate(weights))
    rows = in_the_run(Blend("table", None, sources), {}, budget, 4.0)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert sum(row.tokens for row in rows) == pytest.approx(budget)
    assert all(row.epochs * row.available == pytest.approx(row.tokens) for row in rows)


def test_the_command_audits_against_a_study_and_leaves_with_status_1_when_anything_is_wrong(decided_study, tmp_path):
    def command(blend, *options, ends):
        (tmp_path / "blend.json").write_text(json.dumps(blend))
        study = ["--study", str(decided_study / "tiny.yaml"), "--home", str(decided_study / "home"), "--json"]
        words = [
            sys.executable,
            "-m",
            "regmix_pipeline.cli",
            "audit-blend",
            str(tmp_path / "blend.json"),
            *options,
            *study,
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGMIX_")}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == ends, done.stderr
        return json.loads(done.stdout)

    workspace = Workspace(decided_study / "tiny.yaml", decided_study / "home")
    natural = natural_inside(*prior_and_limits(workspace))  # it was measured, and the chosen mixture may not be
    found = command(natural.weights, ends=0)
    assert found["faults"] == []
    assert found["study"]["decision"] == find_decision(workspace)["decision"]
    assert found["study"]["predicted"] == pytest.approx(found["study"]["natural"], abs=1e-4)
    assert all(row["epochs"] is not None for row in found["sources"])
    code = command({"data/code_text_document": 0.98, "licences": 0.01, "descriptions": 0.01}, "--budget", "5e6", ends=1)
    kinds = {fault["kind"] for fault in code["faults"]}
    assert {"floor", "epochs"} <= kinds
    unknown = command({"code": 0.5, "poems": 0.5}, ends=1)
    assert ("unknown", "poems") in {(fault["kind"], fault["where"]) for fault in unknown["faults"]}
    assert unknown["study"] is None
