"""A target's text that is trained on, and text that a tokenizer loses, are refused or flagged."""

import pytest

from regmix_pipeline import checks
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import TokenError
from regmix_pipeline.stages import up_to
from regmix_pipeline.tokens import checks_stage
from regmix_pipeline.tokens.checks_stage import TEXT_CHECKS


@pytest.fixture
def checked(study_file, tmp_path):
    """Run the study until its text is checked; returns the workspace."""

    def run(say=lambda line: None):
        workspace = Workspace(study_file, tmp_path / "home", say=say)
        for stage in up_to(TEXT_CHECKS):
            assert not [made.error for made in workspace.materialise(stage) if made.error]
        return workspace

    return run


def findings(workspace):
    with workspace.tables("text_overlap", "tokenizer_coverage") as connection:
        limits = workspace.study.text_checks
        return checks.targets_not_trained_on(connection, limits), checks.tokenizer_covers(connection, limits)


def pour(study_file, share):
    """Put a share of the target's documents into a domain."""
    text = study_file.parent / "text"
    lines = (text / "science.jsonl").read_text().splitlines(keepends=True)
    with (text / "licences.jsonl").open("a") as file:
        file.writelines(lines[: int(share * len(lines))])


def test_text_of_its_own_passes(checked):
    workspace = checked()
    assert all(finding.passed for finding in findings(workspace))
    assert {row["documents"] for row in workspace.json("text_checks")["overlap"]} == {0.0}


def test_a_target_inside_a_domain_is_refused_and_may_be_allowed(checked, study_file, change_study):
    pour(study_file, 1)
    with pytest.raises(TokenError, match="of the text of target science is also in the training text of lic") as caught:
        checked()
    assert "text_checks.refuse_overlap" in caught.value.remedy
    change_study({"text_checks.refuse_overlap": 1})
    workspace = checked()
    overlapping, _ = findings(workspace)
    assert not overlapping.passed
    assert "of target science is also in the training text of licences" in overlapping.description


def test_some_of_a_target_inside_a_domain_is_flagged(checked, study_file):
    pour(study_file, 0.2)
    workspace = checked()
    assert not findings(workspace)[0].passed


def test_near_copies_are_flagged(checked, study_file, change_study):
    """Every document of the target is in a domain, with a sentence before it."""
    text = study_file.parent / "text"
    lines = (text / "science.jsonl").read_text().splitlines(keepends=True)
    with (text / "licences.jsonl").open("a") as file:
        file.writelines(line.replace('"text": "', '"text": "As was once said. ', 1) for line in lines)
    workspace = checked()
    overlapping, _ = findings(workspace)
    assert not overlapping.passed
    assert "of target science overlaps with the training text of licences" in overlapping.description


def test_text_that_the_tokenizer_loses_is_refused(checked, study_file, change_study):
    from tokenizers import Tokenizer, models

    letters = {letter: number for number, letter in enumerate("abcdefghijklm<|>noprst")}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(study_file.parent / "small.json"))
    change_study({"tokenizer": {"file": "small.json"}})
    with pytest.raises(TokenError, match=r"the tokenizer loses \d+% of the characters of code"):
        checked()
    change_study({"text_checks.refuse_lost": 1})
    workspace = checked()
    assert not findings(workspace)[1].passed


def test_only_what_changed_is_read_again(checked, study_file, monkeypatch):
    read = {"coverage_of": 0, "overlaps": 0}

    def counted(name):
        plain = getattr(checks_stage, name)

        def call(*given):
            read[name] += 1
            return plain(*given)

        monkeypatch.setattr(checks_stage, name, call)

    for name in read:
        counted(name)
    before = checked().json("text_checks")
    assert read == {"coverage_of": 4, "overlaps": 3}
    checked()
    assert read == {"coverage_of": 4, "overlaps": 3}
    pour(study_file, 0.2)  # into licences
    after = checked().json("text_checks")
    assert read == {"coverage_of": 5, "overlaps": 4}
    unchanged = [row for row in before["overlap"] if row["domain"] != "licences"]
    assert [row for row in after["overlap"] if row["domain"] != "licences"] == unchanged
