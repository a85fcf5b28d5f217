"""Whatever is changed in a finished home, byte by byte or with the sums that go with it, the audit notices."""

import dataclasses
import re
import shutil
import subprocess

import pytest

from regmix_pipeline.decisions.audit import audit_of, holds
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.manifest import write_manifest
from regmix_pipeline.decisions.verdicts import add_verdict, altered, file_of
from regmix_pipeline.engine.journal import Head
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.exports.decided import export_decision
from regmix_pipeline.files import read_json, sha256_of, write_json
from regmix_pipeline.mixtures.adopted import adopt, adopted
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.earlier_stage import REFUSED
from regmix_pipeline.proxies.reuse import drop_altered
from regmix_pipeline.proxies.tasks import evaluation_specs, target_files
from regmix_pipeline.regression.training_data import loss_table

NO_EVIDENCE = re.compile(
    r"^ledger\.duckdb$|"  # people read it; see the test of an edit of it alone
    r"^dagster/"  # Dagster's own storage: its heads of the journal are evidence for the home, not the other way round
    r"|^reports/|^\.ledger\.duckdb\.json$|\.checked$"  # can be made again at any time
    r"|/speed\.parquet$"  # of clocks: the same training has another one each time
    r"|^study\.json$"  # which file the home was found by
    r"|(^|/)\.[^/]*\.?lock$|^ledger\.lock$|-locks/"  # locks
)


def opened(workspace):
    return Workspace(workspace.study_file, workspace.home, say=lambda line: None)


def kind_of(name):
    return re.sub(r"[0-9a-f]{8,}|\d{4}", "#", re.sub(r"(?<=/)[pemdv][0-9a-f]{8,}", "#", name))


def said_by(workspace, **options):
    found = audit_of(opened(workspace), **options)
    return [f"{each['place']}: {each['what']}" for link in found["chain"] for each in link["differences"]]


@pytest.fixture
def spoken(workspace):
    """The study with two verdicts and a mixture that somebody asked for."""
    record = find_decision(workspace)
    adopt(workspace, list(current_mixtures(workspace).values())[:1], "x", "ada", "to see")
    add_verdict(workspace, record, "approved", "looks right", "ada", "regmix")
    add_verdict(workspace, record, "rejected", "code is licensed", "bob", "regmix")
    assert holds(audit_of(opened(workspace)))
    return workspace


def of_other_decisions(workspace):
    """Files on record that today's do not name, which belong to another decision whose audit looks at them, and those
    of runs that are refused, on which no decision is based."""
    today, ever = set(), set()
    for record, current in workspace.records.all():
        based_on = current and (record.asset, record.key) != ("earlier_runs", REFUSED)
        (today if based_on else ever).update((*record.files, *record.sums))
    return ever - today


@pytest.mark.parametrize("how", ["flipped", pytest.param("gone", marks=pytest.mark.slow)])
def test_every_kind_of_file_is_evidence_or_on_the_list_of_what_is_not(spoken, how):
    kinds, others = {}, of_other_decisions(spoken)
    for path in sorted(spoken.home.rglob("*")):
        name = path.relative_to(spoken.home).as_posix()
        if path.is_file() and name not in others and not NO_EVIDENCE.search(name):
            kinds.setdefault(kind_of(name), path)
    assert len(kinds) > 20, sorted(kinds)
    # Whether the ledger says the same is another test's, and takes most of an audit's time.
    spoken.ledger.unlink()
    told = [(spoken.records.journal.head, "elsewhere")]
    noticed = {}
    for kind, path in kinds.items():
        content = path.read_bytes()
        places = [match.start() for match in re.finditer(rb"\d", content)]
        flipped = bytearray(content)
        at = places[len(places) // 2] if path.suffix in (".json", ".jsonl") and places else len(content) // 2
        flipped[at] ^= 1
        if how == "gone" and not kind.startswith(("records/history", "decisions/", "tables/", "proxies/")):
            continue  # most are known to be gone before anything is read; some are made again
        path.unlink()  # a record has two names for one file
        if how == "flipped":
            path.write_bytes(flipped)
        try:
            noticed[kind] = not holds(audit_of(opened(spoken), head_source=lambda home: told))
        except LedgerError as error:
            noticed[kind] = path.name in str(error)
        path.write_bytes(content)
    assert [what for what, seen in noticed.items() if not seen] == []
    assert holds(audit_of(opened(spoken)))


def test_a_change_of_any_byte_of_a_verdicts_row_is_noticed(spoken):
    decision = find_decision(spoken)["decision"]
    part = sorted(spoken.path("tables", "verdicts").glob("*.parquet"))[0]
    content = part.read_bytes()
    for at in range(0, len(content), 11):
        part.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert altered(spoken, decision), f"byte {at} of {len(content)}"
    part.write_bytes(content)
    assert altered(spoken, decision) == []


def test_a_record_without_files_and_sums_does_not_hide_that_weights_were_destroyed(workspace):
    for path in workspace.path("records").glob("*/proxy_checkpoints/**/*.json"):
        content = read_json(path)
        path.unlink()
        write_json(path, content | {"files": [], "sums": {}})
    for path in workspace.path("proxies").glob("p*/model.safetensors"):
        path.write_bytes(b"0")
    assert any(line.startswith("proxy_checkpoints/") for line in said_by(workspace))


def test_an_older_record_in_place_of_the_current_one_is_noticed_and_not_read(workspace):
    before, now = workspace.records.history("mixture_decision")
    path = workspace.path("records", "current", "mixture_decision", "all.json")
    path.unlink()
    shutil.copyfile(workspace.records.kept(before), path)
    assert now.version != before.version
    assert any("not the one that was saved last" in line for line in said_by(workspace, asked=now.version))
    with pytest.raises(LedgerError, match="edited or replaced"):
        opened(workspace).need("mixture_decision")


def test_an_edit_of_the_ledger_alone_turns_nothing_and_is_said(workspace):
    expected = loss_table(opened(workspace)).losses
    import duckdb

    with duckdb.connect(str(workspace.ledger)) as connection:
        connection.execute("update proxy_losses set loss = 0")
    assert (loss_table(opened(workspace)).losses == expected).all()
    assert any("ledger: table proxy_losses" in line for line in said_by(workspace))
    lines = []
    Workspace(workspace.study_file, workspace.home, say=lines.append).keep_ledger()
    assert "written to by something else than regmix" in lines[0]
    with read_ledger(workspace.ledger) as connection:
        assert connection.execute("select min(loss) > 0 from proxy_losses").fetchall() == [(True,)]
    assert holds(audit_of(opened(workspace)))


def test_a_part_that_was_altered_is_not_learned_from(workspace):
    record = workspace.records.current("proxy_losses", workspace.records.keys("proxy_losses")[0])
    name = next(name for name in record.sums if name.startswith("tables/"))
    (workspace.home / name).write_bytes(b"PAR1")
    with pytest.raises(LedgerError, match=r"altered after it was recorded(.|\n)*delete it") as error:
        loss_table(opened(workspace))
    assert name in str(error.value)


@pytest.mark.parametrize("with_its_own_sum", [False, True])
def test_an_altered_measurement_is_dropped_and_said(workspace, with_its_own_sum):
    from regmix_pipeline.proxies.current import trained_specs
    from regmix_pipeline.proxies.evaluations import write_evaluation

    lines = []
    workspace = Workspace(workspace.study_file, workspace.home, say=lines.append)
    specs = [spec for group in trained_specs(workspace, current_mixtures(workspace)).values() for spec in group]
    tasks = evaluation_specs(workspace, specs, target_files(workspace), workspace.study.proxies.evaluation)
    drop_altered(workspace, tasks)
    assert lines == []
    value = read_json(tasks[0].output)
    forged = {name: item for name, item in value.items() if name != "sha256"} | {"loss": value["loss"] - 1}
    if with_its_own_sum:
        write_evaluation(tasks[0].output, forged)
    else:
        write_json(tasks[0].output, value | {"loss": value["loss"] - 1})
    drop_altered(workspace, tasks)
    assert lines == [f"      {workspace.name_of(tasks[0].output)} is measured again: it was altered"]
    assert [task.output.is_file() for task in tasks[:2]] == [False, True]


def test_a_rejection_whose_files_are_gone_still_counts(spoken, tmp_path):
    record = find_decision(spoken)
    head = str(spoken.records.journal.head)
    file_of(spoken, record["decision"], 2).unlink()
    last = spoken.records.journal.lines[-1].says["verdict"]["verdict"]
    spoken.path("tables", "verdicts", f"{last}.parquet").unlink()
    assert any("rejected by bob" in line and "gone" in line for line in said_by(spoken))
    with pytest.raises(LedgerError, match="rejected by bob"):
        export_decision(opened(spoken), None, "regmix", out=tmp_path / "out.yaml")
    # Without the ledger nobody in the home has seen the line with its files: it counts all the same.
    spoken.ledger.unlink()
    with pytest.raises(LedgerError, match="rejected by bob"):
        export_decision(opened(spoken), None, "regmix", out=tmp_path / "out.yaml")
    # And without its line, who keeps the journal's head elsewhere knows.
    journal = spoken.records.journal.path
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    told = [(Head.of(head), "Dagster")]
    assert any("Dagster knows of" in line for line in said_by(spoken, head_source=lambda home: told))
    with pytest.raises(LedgerError, match="Dagster knows of"):
        export_decision(opened(spoken), None, "regmix", out=tmp_path / "out.yaml", head_source=lambda home: told)


def test_a_request_for_mixtures_that_nobody_made_is_not_followed(spoken):
    path = spoken.path("adopted.json")
    entries = read_json(path)
    write_json(path, [*entries, entries[0] | {"by": "nobody"}])
    with pytest.raises(LedgerError, match=r"adopted\.json: lists other mixtures"):
        adopted(opened(spoken))
    assert any(line.startswith("adopted.json") for line in said_by(spoken))


def test_a_manifest_kept_elsewhere_knows_who_rewrote_the_whole_home(workspace, tmp_path):
    write_manifest(workspace, find_decision(workspace), tmp_path / "m.json")
    assert said_by(workspace, against=tmp_path / "m.json") == []
    record = workspace.records.current("regressor")
    path = workspace.home / record.files[-1]
    path.write_text(path.read_text() + " ")
    workspace.records.save(dataclasses.replace(record, sums=dict(record.sums) | {record.files[-1]: sha256_of(path)}))
    workspace.build_ledger()
    assert any(line.startswith("manifest: ") for line in said_by(workspace, against=tmp_path / "m.json"))
    with pytest.raises(LedgerError, match="is not a manifest"):
        said_by(workspace, against=workspace.study_file)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH's ssh-keygen")
def test_a_signed_verdict_is_distinguished_from_a_forged_one(workspace, tmp_path):
    for name in ("ada", "eve"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    signers = tmp_path / "allowed"
    signers.write_text(f"ada {(tmp_path / 'ada.pub').read_text()}")
    record = find_decision(workspace)
    add_verdict(workspace, record, "approved", "fine", "ada", "regmix", tmp_path / "ada")
    assert said_by(workspace, signers=signers) == []
    export_decision(workspace, None, "regmix", out=tmp_path / "out.yaml", signers=signers)
    add_verdict(workspace, record, "approved", "fine too", "ada", "regmix")
    with pytest.raises(LedgerError, match="is not signed"):
        export_decision(workspace, None, "regmix", out=tmp_path / "out.yaml", signers=signers)
    add_verdict(workspace, record, "approved", "fine again", "ada", "regmix", tmp_path / "eve")
    assert any("no allowed signer" in line for line in said_by(workspace, signers=signers))
    with pytest.raises(LedgerError, match="there is no such key"):
        add_verdict(workspace, record, "approved", "fine", "ada", "regmix", tmp_path / "nobody")
