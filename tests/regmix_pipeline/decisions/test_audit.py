"""The audit of a decision notices whatever was altered afterwards, and nothing else."""

import dataclasses
import io
import json
import os
import shutil

import pytest
import yaml
from rich.console import Console

from regmix_pipeline.decisions.audit import audit_of, holds, show_audit
from regmix_pipeline.decisions.find import decisions, find_decision
from regmix_pipeline.decisions.record import sealed
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import read_json, sha256_of, write_json


def differences(workspace, asked=None, **options):
    found = audit_of(workspace, asked, **options)
    return {(each["place"].split("@")[0], each["kind"]) for link in found["chain"] for each in link["differences"]}


def test_a_decision_whose_file_is_gone_is_reported_from_the_ledger_alone(workspace):
    record = find_decision(workspace)
    shutil.rmtree(workspace.path("decisions"))
    assert find_decision(workspace, record["decision"]) == record
    assert differences(workspace) == {(each["decision"], "gone") for each in decisions(workspace)}


def test_an_untouched_chain_holds_and_counts_what_it_looked_at(workspace):
    found = audit_of(workspace)
    assert holds(found)
    assert differences(workspace) == set()
    behind = [link for link in found["chain"] if link["asset"] not in ("journal", "ledger")]
    assert sum(link["things"] for link in behind) == len(find_decision(workspace)["versions"]) + 1
    assert {link["asset"] for link in found["chain"]} >= {"journal", "ledger"}
    assert all(link["unsummed"] == 0 for link in found["chain"])
    assert holds(audit_of(workspace, "previous"))
    json.dumps(found, allow_nan=False)


def test_an_untouched_chain_holds_wherever_the_home_was_moved(workspace, tmp_path):
    place = tmp_path / "a b[1]*?'q\"ü\\%20#x{y}"
    shutil.move(workspace.base, place)
    moved = Workspace(place / "tiny.yaml", place / "home", say=lambda line: None)
    assert holds(audit_of(moved))
    moved.ledger.unlink()
    moved.keep_ledger()
    found = audit_of(moved)
    assert holds(found)
    assert found["ledger_is_current"]
    assert "ledger" in {link["asset"] for link in found["chain"]}
    assert os.listdir(tmp_path) == [place.name]


def test_a_mixture_that_the_limits_forbid_is_shown_as_such(workspace):
    found = audit_of(workspace)
    decision = found["record"]
    tight = [each | {"cap": 0.4} if each["domain"] == "descriptions" else each for each in decision["domains"]]
    console = Console(width=160, record=True, file=io.StringIO())
    for domains in (decision["domains"], tight):
        show_audit(found | {"record": decision | {"domains": domains}}, console)
    rows = [line for line in console.export_text().splitlines() if line.startswith("by_hand")]
    assert ["beyond the limits: descriptions" in line for line in rows] == [False, True]


def spoil(path):
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("asset", ["regressor", "optimal_mixture", "proxy_losses", "mixtures", "tokenizer"])
def test_an_altered_artefact_is_named(workspace, asset):
    key = workspace.records.keys(asset)[0]
    spoil(workspace.home / workspace.records.current(asset, key).files[0])
    assert differences(workspace) == {(f"{asset}/{key}", "altered")}


@pytest.mark.parametrize(("name", "asset"), [("train.ds", "token_shards"), ("safetensors", "proxy_checkpoints")])
def test_altered_tokens_and_weights_are_named_unless_contents_are_left_out(workspace, name, asset):
    record = workspace.records.current(asset, workspace.records.keys(asset)[0])
    path = next(workspace.home / file for file in record.files if file.endswith(name))
    spoil(path)
    assert {(place.split("/")[0], kind) for place, kind in differences(workspace)} == {(asset, "altered")}
    assert differences(workspace, contents=False) == set()


def test_a_part_of_a_ledger_table_is_under_the_record_s_checksums(workspace):
    record = workspace.records.current("regressor")
    part = workspace.path("tables", "regressor_scores", f"{record.version}.parquet")
    spoil(part)
    assert differences(workspace) == {("regressor/all", "altered")}


def test_an_altered_record_and_a_missing_one_are_named(workspace):
    record = workspace.records.current("proxy_losses", workspace.records.keys("proxy_losses")[0])
    path = workspace.records.kept(record)
    write_json(path, read_json(path) | {"settings": {"windows": 1}})
    assert differences(workspace) == {(f"proxy_losses/{record.key}", "altered")}
    path.unlink()
    assert differences(workspace) == {(f"proxy_losses/{record.key}", "gone")}


def test_a_retouched_decision_is_seen_through(workspace):
    record = find_decision(workspace)
    path = workspace.path("decisions", record["decision"], "decision.json")
    retouched = sealed(record | {"gain": record["gain"] | {"predicted": 9.0}})
    write_json(path, retouched)
    assert differences(workspace) == {(record["decision"], "altered")}
    said = [each["what"] for link in audit_of(workspace, record["decision"])["chain"] for each in link["differences"]]
    assert "its file holds another text; shown as the ledger has it" in said or any(
        "has the id" in each for each in said
    )


def test_other_text_in_a_source_is_reported_and_is_no_fault(workspace):
    source = workspace.base / "text" / "code.jsonl"
    source.write_text(source.read_text() + json.dumps({"id": "new", "text": "x" * 300}) + "\n")
    assert differences(workspace) == {("documents/code", "changed since")}
    assert holds(audit_of(workspace))


@pytest.mark.parametrize("what", ["mixture.yaml", "predictions", "decisions"])
def test_what_is_beside_the_decision_is_under_its_checksums_too(workspace, what):
    name = find_decision(workspace)["decision"]
    path = workspace.path("decisions", name, what) if "." in what else workspace.path("tables", what, f"{name}.parquet")
    spoil(path)
    assert (name, "altered") in differences(workspace)


def test_a_decision_that_claims_another_s_name_is_not_taken_for_it(workspace):
    record = find_decision(workspace)
    planted = record | {"mixture": {"id": "m0", "weights": {"code": 1.0}}}
    write_json(workspace.path("decisions", "zz", "decision.json"), planted)
    assert find_decision(workspace, record["decision"]) == record
    assert differences(workspace) == set()


def test_a_file_that_says_it_is_another_decision_is_altered(workspace):
    record = find_decision(workspace)
    write_json(workspace.path("decisions", record["decision"], "decision.json"), record | {"decision": "dother"})
    assert (record["decision"], "altered") in differences(workspace, asked=record["decision"])


def test_an_unreadable_decision_does_not_hide_the_others(workspace):
    first, second = (record["decision"] for record in decisions(workspace))
    workspace.path("decisions", first, "decision.json").write_text('{"decision": ')
    assert find_decision(workspace, second)["decision"] == second
    assert differences(workspace, asked=second) == {(first, "altered")}
    assert (first, "altered") in differences(workspace, asked=first)


def test_equal_content_from_another_recipe_later_on_leaves_the_old_decision_as_it_was(reopened, decide):
    """The mixtures are the same under other settings: their version has two records, and each decision its own."""
    file = reopened().study_file
    settings = yaml.safe_load(file.read_text())
    before, record = find_decision(reopened()), reopened().records.current("mixtures")
    settings["mixtures"]["arrivals"] = 7
    decide(file.parent, settings | {"rank_correlation_floor": 0.9999})
    workspace = reopened()
    assert find_decision(workspace)["decision"] != before["decision"]
    assert {each.recipe for each in workspace.records.of_version("mixtures", "all", record.version)} > {record.recipe}
    for each in decisions(workspace):
        assert differences(workspace, each["decision"]) == set()


def test_a_record_made_again_by_another_recipe_is_not_the_one_the_decision_rests_on(workspace):
    """The same version saved once more, from other inputs, as a later study may do."""
    record = workspace.records.current("mixtures")
    other = dataclasses.replace(
        record, recipe="f" * 16, inputs={"domain_inventory/all": "0" * 16}, made_at="2999-01-01"
    )
    workspace.records.save(other)
    assert holds(audit_of(workspace))


def test_checksums_that_were_retouched_with_their_file_are_seen(workspace):
    """Artefact, record and ledger agree among themselves, and not with what the decision knew."""
    record = workspace.records.current("regressor")
    path = workspace.home / record.files[-1]
    path.write_text(path.read_text() + " ")
    workspace.records.save(dataclasses.replace(record, sums=dict(record.sums) | {record.files[-1]: sha256_of(path)}))
    workspace.build_ledger()
    assert differences(workspace) == {("regressor/all", "altered")}


@pytest.mark.parametrize("how", ["gone", "damaged", "behind"])
def test_a_ledger_that_is_gone_or_behind_breaks_no_chain(workspace, how):
    name = find_decision(workspace)["decision"]
    if how == "gone":
        workspace.ledger.unlink()
    elif how == "damaged":
        workspace.ledger.write_bytes(b"no database")
    else:
        workspace.records.save(dataclasses.replace(workspace.records.current("domains"), recipe="f" * 16, inputs={}))
    found = audit_of(workspace, name)
    # One that is damaged is built again by the first who reads it; an audit makes none where there is none.
    assert found["ledger_is_current"] == (how == "damaged")
    assert workspace.ledger.is_file() == (how != "gone")
    assert {each["kind"] for link in found["chain"] for each in link["differences"]} <= {"changed since"}


def test_text_swapped_behind_equal_size_and_time_is_seen(workspace):
    """The same file, size and time: what is remembered by these does not count in an audit."""
    source = workspace.base / "text" / "code.jsonl"
    assert differences(workspace) == set()
    before = source.stat()
    content = source.read_text()
    with source.open("r+") as file:
        file.write(content.replace("e", "a"))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ("documents/code", "changed since") in differences(workspace)
