"""The tokenizer and how text becomes shards, as the study file states them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from regmix_pipeline.study.settings.base import Settings

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
    """A tokenizer: exactly one of ``file``, ``hub`` and ``train``."""

    file: str | None = None
    """A tokenizer.json as the tokenizers library writes it; a relative path starts at the study file's folder."""
    hub: str | None = Field(default=None, min_length=1)
    """A model on the Hugging Face Hub whose tokenizer.json is taken, such as allenai/dolma2-tokenizer. It is fetched
    once and kept at the commit that it had then."""
    revision: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit of ``hub``. Default: main."""
    name: str | None = Field(default=None, min_length=1)
    """What sources of tokens call this tokenizer. Default: the ``hub`` or ``file`` as it is written here."""
    train: TokenizerTraining | None = None
    """Train one instead; once trained it is frozen, whatever later happens to the documents."""
    eos_token: str = Field(default="<|endoftext|>", min_length=1)
    """The token that ends each document; a given tokenizer must know it."""

    @model_validator(mode="after")
    def _exactly_one(self) -> TokenizerSettings:
        given = [kind for kind in ("file", "hub", "train") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"the tokenizer needs exactly one of file, hub and train, this one has {' and '.join(given) or 'none'}"
                ": "
                "for instance {file: tokenizer.json} or {train: {vocab_size: 8192}}"
            )
        if self.revision is not None and self.hub is None:
            raise ValueError("revision is of a tokenizer on the Hugging Face Hub: give hub, or leave it out")
        if self.name is not None and self.train is not None:
            raise ValueError("no other tokens are made by a tokenizer that the study trains: leave the name out")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What sources of tokens may call it."""
        return tuple(name for name in (self.name, self.hub, self.file) if name is not None)

    def asked(self) -> dict[str, Any]:
        """What a tokenizer follows from, JSON-able. A name is none of it, and what is not given is left out."""
        given = self.model_dump(mode="json", exclude={"name"})
        return {key: value for key, value in given.items() if value is not None or key in ("file", "train")}


_VARIABLES = {
    "kind": "REGMIX_TOKENS_EXECUTOR",
    "tasks": "REGMIX_TOKENS_TASKS",
    "workers": "REGMIX_TOKENS_WORKERS",
    "cpus_per_task": "REGMIX_TOKENS_CPUS_PER_TASK",
    "mem_per_cpu_gb": "REGMIX_TOKENS_MEM_PER_CPU_GB",
    "address": "REGMIX_RAY_ADDRESS",
    "wait_for_nodes": "REGMIX_RAY_WAIT_FOR_NODES",
    "partition": "REGMIX_TOKENS_PARTITION",
    "time": "REGMIX_TOKENS_TIME",
    "qos": "REGMIX_TOKENS_QOS",
    "env_command": "REGMIX_TOKENS_ENV_COMMAND",
}


class ExecutorSettings(Settings):
    """Where text is tokenized, by one of datatrove's executors. No part of any result: each gives the same shards.

    Documents, tokenizer and the study's home must be on a disk that all machines share; documents may also be at an
    fsspec address that all of them reach.
    """

    kind: Literal["local", "ray", "slurm"] = "local"
    """local: processes on this machine. ray: tasks on a Ray cluster (needs the extra `ray`). slurm: array jobs."""
    tasks: int | None = Field(default=None, ge=1)
    """Tasks that a source's files are divided among, at most one a file. Default: one for every 256 MB of files; text
    that is less than that in all is tokenized by the run itself, whatever the kind."""
    workers: int | None = Field(default=None, ge=1)
    """Tasks that run at once. Default: one per CPU core here, as many as the cluster has room for elsewhere."""
    cpus_per_task: int = Field(default=1, ge=1)
    """CPU cores that a task uses, and that a cluster sets aside for it."""
    mem_per_cpu_gb: int = Field(default=2, ge=1)
    """Memory that a cluster sets aside for each of these cores, in GB."""
    address: str | None = None
    """Address of the Ray cluster, for instance ray://head:10001. Default: the one this machine belongs to."""
    wait_for_nodes: float = Field(default=0.0, ge=0)
    """Seconds that the Ray cluster may take to bring up a node large enough for a task, where it adds nodes by itself.
    Default: 0, such a node must be there."""
    partition: str | None = None
    """Slurm partition. Default: the cluster's."""
    time: str | None = None
    """Slurm's time limit for a task, for instance 04:00:00. Default: the partition's."""
    qos: str | None = None
    """Slurm's quality of service. Default: none asked for."""
    sbatch_args: dict[str, str] = Field(default_factory=dict)
    """Further options of sbatch by their long names, for instance {account: pretraining}."""
    env_command: str | None = None
    """Shell command at the start of a Slurm job, for instance `module load zstd`. This Python needs none."""

    def overridden(self, environment: Mapping[str, str] | None = None) -> ExecutorSettings:
        """These settings with what the environment says instead.

        Raises:
            StudyError: a variable does not hold what it should.
        """
        return self.overridden_by(_VARIABLES, environment)


class TextCheckSettings(Settings):
    """What is flagged of the text, and what stops the study before anything is trained on it. Shares from 0 to 1."""

    flag_overlap: float = Field(default=0.01, ge=0, le=1)
    """A decision is flagged above this share of a target's text that is in documents of a domain's training text."""
    refuse_overlap: float = Field(default=0.5, ge=0, le=1)
    """Nothing is trained above this share."""
    flag_runs: float = Field(default=0.5, ge=0, le=1)
    """A decision is flagged above this share of a target's runs of some 100 bytes that a domain's training text has."""
    flag_lost: float = Field(default=0.005, ge=0, le=1)
    """A decision is flagged above this share of a source's characters or tokens that the tokenizer does not know."""
    refuse_lost: float = Field(default=0.2, ge=0, le=1)
    """Nothing is trained above this share."""


class ShardSettings(Settings):
    """How the documents of a source are divided."""

    seed: int = 0
    """The study's seed: with a text's hash it decides which split the text belongs to."""
    validation_fraction: float = Field(default=0.02, gt=0, lt=1)
    """Fraction of a domain's documents, in expectation, that are kept for validation."""
    min_tokens: int = Field(default=2, ge=1)
    """Tokens that every split must have: one window, which is the context and the token after it."""
    executor: ExecutorSettings = ExecutorSettings()
    """Where text is tokenized: this machine or a cluster."""
