from __future__ import annotations

import pytest
from pydantic import ValidationError

from regmix_pipeline.study.settings.tokens import ShardSettings, TokenizerSettings, TokenizerTraining


@pytest.mark.parametrize("given", [{}, {"file": "a.json", "train": {"vocab_size": 512}}])
def test_a_tokenizer_is_a_file_or_trained(given):
    with pytest.raises(ValidationError, match="exactly one of file and train"):
        TokenizerSettings.model_validate(given)


def test_a_vocabulary_holds_all_bytes():
    with pytest.raises(ValidationError, match="257"):
        TokenizerTraining(vocab_size=256)


@pytest.mark.parametrize("given", [{"validation_fraction": 0}, {"validation_fraction": 1}, {"min_tokens": 0}])
def test_impossible_divisions_are_refused(given):
    with pytest.raises(ValidationError):
        ShardSettings.model_validate(given)
