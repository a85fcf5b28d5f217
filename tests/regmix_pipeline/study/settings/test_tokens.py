from __future__ import annotations

import pytest
from pydantic import ValidationError

from regmix_pipeline.study.settings.tokens import ShardSettings, TokenizerSettings, TokenizerTraining


@pytest.mark.parametrize(
    "given", [{}, {"file": "a.json", "train": {"vocab_size": 512}}, {"file": "a.json", "hub": "owner/name"}]
)
def test_a_tokenizer_is_a_file_or_of_the_hub_or_trained(given):
    with pytest.raises(ValidationError, match="exactly one of file, hub and train"):
        TokenizerSettings.model_validate(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"file": "a.json", "revision": "main"}, "revision is of a tokenizer on the Hugging Face Hub"),
        ({"train": {}, "name": "mine"}, "leave the name out"),
    ],
)
def test_what_a_tokenizer_has_no_use_for_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        TokenizerSettings.model_validate(given)


def test_names_and_new_fields_change_no_recipe():
    asked = TokenizerSettings(file="a.json").asked()
    assert asked == {"file": "a.json", "train": None, "eos_token": "<|endoftext|>"}
    assert TokenizerSettings(file="a.json", name="ours").asked() == asked
    assert TokenizerSettings(hub="owner/name").asked() != TokenizerSettings(hub="owner/name", revision="dev").asked()


def test_a_vocabulary_holds_all_bytes():
    with pytest.raises(ValidationError, match="257"):
        TokenizerTraining(vocab_size=256)


@pytest.mark.parametrize("given", [{"validation_fraction": 0}, {"validation_fraction": 1}, {"min_tokens": 0}])
def test_impossible_divisions_are_refused(given):
    with pytest.raises(ValidationError):
        ShardSettings.model_validate(given)
