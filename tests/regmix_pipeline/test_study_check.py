"""A study that cannot run is refused before anything is made, and estimates refuse only what cannot be."""

import json

import pytest

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError, RegmixError
from regmix_pipeline.study_check.check import check_study


def checked(study_file, tmp_path, **options):
    return check_study(Workspace(study_file, tmp_path / "home", say=lambda line: None), **options)


def test_a_study_that_can_run_has_nothing_to_say(study_file, tmp_path):
    assert checked(study_file, tmp_path) == []
    assert not (tmp_path / "home").exists()


def test_too_little_text_for_the_large_run_says_that_it_is_estimated(study_file, change_study, tmp_path):
    change_study({"limits": {"target_tokens": 25_000_000_000, "max_epochs": 4}})
    with pytest.raises(MixtureError, match=r"needs 25\.0 B tokens.*estimated from the size of the files"):
        checked(study_file, tmp_path)


def test_stated_tokens_are_no_estimate(study_file, change_study, tmp_path):
    domains = {f"domains.{name}.available_tokens": 10_000_000 for name in ("code", "licences", "descriptions")}
    change_study(domains | {"limits": {"target_tokens": 25_000_000_000, "max_epochs": 4}})
    with pytest.raises(MixtureError) as refused:
        checked(study_file, tmp_path)
    assert "estimated" not in str(refused.value)
    assert "30.0 M" in str(refused.value)


def test_what_only_an_estimate_forbids_is_a_warning(study_file, change_study, tmp_path):
    change_study({"limits": {"target_tokens": 1_600_000, "max_epochs": 4}})
    (line,) = checked(study_file, tmp_path)
    assert "by the estimated tokens the caps sum to" in line


def test_a_small_domain_without_a_validation_split_is_found_at_once(study_file, change_study, tmp_path):
    change_study({"shards.validation_fraction": 0.0001})
    with pytest.raises(RegmixError, match=r"validation split") as refused:
        checked(study_file, tmp_path)
    assert "raise shards.validation_fraction (0.0001)" in refused.value.remedy


def test_every_source_is_peeked_at_and_none_twice(study_file, change_study, tmp_path):
    path = study_file.parent / "text" / "licences.jsonl"
    path.write_text(json.dumps({"content": "text"}) + "\n" + path.read_text())
    with pytest.raises(RegmixError, match=r"licences\.jsonl:1: there is no text field 'text'; the fields are content"):
        checked(study_file, tmp_path)


def test_text_on_another_machine_can_be_planned_for_as_a_whole_only(study_file, change_study, tmp_path):
    for path in (study_file.parent / "text").iterdir():
        path.unlink()
    with pytest.raises(RegmixError, match=r"domains\.code\.source: jsonl"):
        checked(study_file, tmp_path)
    assert checked(study_file, tmp_path, elsewhere=True) == [
        "none of the text is here, so neither it nor the tokenizer was checked"
    ]
