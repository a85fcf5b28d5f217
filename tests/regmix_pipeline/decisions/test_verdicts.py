"""What people say of a decision: the last word counts, and none can be taken out, changed or slipped in unnoticed."""

import pytest

from regmix_pipeline.decisions.audit import audit_of, holds
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.verdicts import add_verdict, altered, need_approval, verdicts_of
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import fingerprint, read_json, sha256_of, write_json


def test_verdicts_add_up_and_the_last_word_counts(workspace):
    record = find_decision(workspace)
    name = record["decision"]
    with pytest.raises(LedgerError, match="was not approved yet"):
        need_approval(workspace, name)
    add_verdict(workspace, record, "approved", "looks right", "ada", "regmix")
    need_approval(workspace, name)
    add_verdict(workspace, record, "rejected", "code is licensed", "bob", "regmix")
    with pytest.raises(LedgerError, match="rejected by bob: code is licensed"):
        need_approval(workspace, name)
    assert [(each.by, each.said) for each in verdicts_of(workspace, name)] == [("ada", "approved"), ("bob", "rejected")]
    assert altered(workspace, name) == []
    with read_ledger(workspace.ledger) as connection:
        rows = connection.execute('select said, "by", reason from verdicts order by number').fetchall()
    assert rows == [("approved", "ada", "looks right"), ("rejected", "bob", "code is licensed")]
    with pytest.raises(LedgerError, match="needs a reason"):
        add_verdict(workspace, record, "approved", " ", "ada", "regmix")


def test_a_verdict_taken_out_or_changed_is_noticed_and_nothing_is_added_to_it(workspace):
    record = find_decision(workspace)
    name = record["decision"]
    for number in range(3):
        add_verdict(workspace, record, "approved", f"reason {number}", "ada", "regmix")
    assert holds(audit_of(workspace))
    folder = workspace.path("decisions", name, "verdicts")
    second = read_json(folder / "0002.json")
    write_json(folder / "0002.json", second | {"reason": "another"})
    assert not holds(audit_of(workspace))
    with pytest.raises(LedgerError, match="changed after it was given"):
        add_verdict(workspace, record, "rejected", "no", "bob", "regmix")
    (folder / "0002.json").unlink()
    assert any("its file is gone" in what for what in altered(workspace, name))


def test_the_last_verdict_cannot_be_taken_out_nor_one_be_slipped_in(workspace):
    record = find_decision(workspace)
    name, folder = record["decision"], workspace.path("decisions", record["decision"], "verdicts")
    for said in ("approved", "rejected"):
        add_verdict(workspace, record, said, f"it is {said}", "ada", "regmix")
    assert holds(audit_of(workspace))
    last = read_json(folder / "0002.json")
    (folder / "0002.json").unlink()
    assert any("its file is gone" in what for what in altered(workspace, name))
    assert not holds(audit_of(workspace))
    # Nothing is lost: the row has all of it, and whoever speaks next brings the file back.
    add_verdict(workspace, record, "approved", "after all", "bob", "regmix")
    assert read_json(folder / "0002.json") == last
    assert altered(workspace, name) == []
    forged = {key: value for key, value in read_json(folder / "0003.json").items() if key != "verdict"}
    forged |= {"number": 4, "by": "the CEO", "before": sha256_of(folder / "0003.json")}
    write_json(folder / "0004.json", {"verdict": "v" + fingerprint("verdict", forged), **forged})
    assert any("not given through regmix" in what for what in altered(workspace, name))
    (folder / "0004.json").write_text("no JSON")
    assert any("0004.json was not given through regmix" in what for what in altered(workspace, name))
