"""The tokenizer and how text becomes shards, as the study file states them."""

from __future__ import annotations

from pydantic import Field, model_validator

from regmix_pipeline.settings import Settings

BYTES_AND_EOS = 257
"""The smallest byte-level vocabulary: every byte, and the token that ends a document."""


class TokenizerTraining(Settings):
    """Train a byte-level BPE on the beginning of the domains."""

    vocab_size: int = Field(default=8192, ge=BYTES_AND_EOS, le=1 << 20)
    """Tokens in the vocabulary, the 256 bytes and the end-of-text token among them."""
    bytes_per_domain: int = Field(default=1_000_000, gt=0)
    """UTF-8 bytes of text taken from the beginning of each domain."""
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Domains in the sample; all of the study's domains unless given."""


class TokenizerSettings(Settings):
    """A tokenizer: exactly one of ``file`` and ``train``."""

    file: str | None = None
    """A tokenizer.json as the tokenizers library writes it; a relative path starts at the study file's folder."""
    train: TokenizerTraining | None = None
    """Train one instead; once trained it is frozen, whatever later happens to the documents."""
    eos_token: str = Field(default="<|endoftext|>", min_length=1)
    """The token that ends each document; a given tokenizer must know it."""

    @model_validator(mode="after")
    def _exactly_one(self) -> TokenizerSettings:
        if (self.file is None) == (self.train is None):
            found = "both" if self.file is not None else "neither"
            raise ValueError(
                f"the tokenizer needs exactly one of file and train, this one has {found}: "
                "for instance {file: tokenizer.json} or {train: {vocab_size: 8192}}"
            )
        return self


class ShardSettings(Settings):
    """How the documents of a source are divided."""

    seed: int = 0
    """The study's seed: with a text's hash it decides which split the text belongs to."""
    validation_fraction: float = Field(default=0.02, gt=0, lt=1)
    """Fraction of a domain's documents, in expectation, that are kept for validation."""
    min_tokens: int = Field(default=2, ge=1)
    """Tokens that every split must have: one window, which is the context and the token after it."""
