"""How much text a study tokenises: as recorded, as its files are large, or as much as its models can use."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.work import Work, caps_of
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import TokenizerSettings
from regmix_pipeline.study.study import Study

TRIAL_BYTES = 6_000_000
"""Text tokenised in the trial, from some of the sources."""
_SOURCES = 16
"""Sources that the trial reads at most, evenly spaced over their list."""


@dataclass(frozen=True)
class Text:
    """A study's text.

    Attributes:
        bytes: UTF-8 bytes of all sources.
        tokens: tokens of all shards.
        token_bytes: bytes of a token on disk, 2 or 4.
        source: where the size comes from.
    """

    bytes: float
    tokens: float
    token_bytes: int
    source: str


@dataclass(frozen=True)
class TextSpeed:
    """How fast text is read and tokenised.

    Attributes:
        megabytes_per_second: of text, all cores together, to make shards.
        training_per_megabyte: seconds to train a tokenizer on a MB.
        bytes_per_token: UTF-8 bytes; None if not measured.
        beginning: seconds once, for imports.
        source: where these come from.
    """

    megabytes_per_second: float
    training_per_megabyte: float
    bytes_per_token: float | None
    beginning: float
    source: str


def text_of(
    study: Study, works: Sequence[Work], workspace: Workspace | None, bytes_per_token: float | None = None
) -> Text:
    """The study's text.

    Args:
        study: the study.
        works: its models.
        workspace: where to look for records and for files; None looks nowhere.
        bytes_per_token: if it was measured; recorded shards go before it, a stated number after it.
    """
    width = 4 if works and works[0].vocabulary > 1 << 16 else 2
    if not study.trains:
        return Text(0.0, 0.0, width, "imported runs alone")
    per_token = bytes_per_token or stated.BYTES_PER_TOKEN
    if workspace is not None:
        shards = [workspace.records.current("token_shards", name) for name in study.sources]
        known = [record.facts for record in shards if record is not None]
        if len(known) == len(shards):
            read = 1e6 * sum(fact["megabytes"] for fact in known)
            return Text(read, float(sum(fact["tokens"] for fact in known)), width, "recorded here")
        sizes = [size_of(source, workspace.base, workspace.data) for _, source in study.sources.values()]
        if None not in sizes:
            found = float(sum(size or 0 for size in sizes))
            return Text(found, found / per_token, width, "sizes of the files here")
    tokens = tokens_needed(study, works)
    return Text(tokens * per_token, tokens, width, "a sample that no model exhausts: the text is not here")


def tokens_needed(study: Study, works: Sequence[Work]) -> float:
    """Training and validation tokens that no model's draws exhaust, as far as availability and caps are stated."""
    stated_tokens = [domain.available_tokens for domain in study.domains.values()]
    total = sum(tokens or 0 for tokens in stated_tokens)
    target, caps = study.limits.target_tokens, caps_of(study)
    repeats = target is not None and study.proxies.repeat_as_target is not False
    longest = max((work.tokens for work in works), default=0)
    needed = 0.0
    for name, available in zip(study.domains, stated_tokens, strict=True):
        if available is not None and repeats and target is not None:
            needed += min(available, available * longest / target)
            continue
        usage = study.mixtures.max_usage * available / total if available is not None else 1.0
        drawn = min(caps.get(name, 1.0), usage, 1.0) * longest
        needed += drawn if available is None else min(available, drawn)
    return needed / (1 - study.shards.validation_fraction)


def size_of(source: Source, base: Path, data: Path) -> float | None:
    """UTF-8 bytes of text in a source's local files, from their sizes; None where they are not here."""
    from regmix_pipeline.documents.corpora import corpus_path
    from regmix_pipeline.documents.resolve import resolve

    if source.remote:
        return None
    if source.corpus is not None and not corpus_path(source.corpus, data).is_file():
        return None
    try:
        paths = resolve(source, base, data).paths
    except RegmixError:
        return None
    if source.tokens is not None:
        from regmix_pipeline.documents.token_files import stored_tokens

        found = stored_tokens(source, base) * stated.BYTES_PER_TOKEN
        return min(found, source.max_bytes) if source.max_bytes is not None else found
    found = sum(os.stat(path).st_size * stated.COMPRESSION.get(Path(path).suffix, 1.0) for path in paths)
    return min(found, source.max_bytes) if source.max_bytes is not None else found


def text_trial(study: Study, workspace: Workspace) -> TextSpeed | None:
    """Read, train a tokenizer and make shards of the beginning of some sources, as the study would; None without text.

    Raises:
        DocumentError: a document cannot be read.
    """
    from regmix_pipeline.documents.readers import reader

    texts = [source for _, source in study.sources.values() if source.tokens is None]
    here = [source for source in texts if size_of(source, workspace.base, workspace.data)]
    settings = study.tokenizer
    if not here or settings is None or settings.hub is not None:  # a tokenizer of the Hub may have to be fetched
        return None
    if settings.file is not None and not (workspace.base / settings.file).is_file():
        return None
    started = time.perf_counter()
    import regmix_pipeline.tokens.steps  # noqa: F401 - what importing it costs

    beginning = time.perf_counter() - started
    chosen = here[:: -(-len(here) // _SOURCES)]
    share = TRIAL_BYTES // len(chosen)
    first = [first_bytes(source, share) for source in chosen]
    with tempfile.TemporaryDirectory(prefix="regmix-plan-") as folder:
        return _tried(
            settings,
            [reader(source, workspace.base, workspace.data) for source in first],
            Path(folder),
            beginning,
            workspace,
        )


def first_bytes(source: Source, most: int) -> Source:
    """The same source, of which no more than ``most`` bytes are read."""
    return source.model_copy(update={"max_bytes": min(most, source.max_bytes or most)})


def _tried(
    settings: TokenizerSettings, readers: Sequence[Any], folder: Path, beginning: float, workspace: Workspace
) -> TextSpeed:
    from regmix_pipeline.tokens.steps import DropDuplicates, SplitTokenizer
    from regmix_pipeline.tokens.tokenizer import ensure_tokenizer

    documents = [list(read.run()) for read in readers]
    sample = sum(len(document.text.encode()) for part in documents for document in part)
    started = time.perf_counter()
    parts = {f"part_{number}": (lambda part=part: part) for number, part in enumerate(documents)}
    if settings.train is not None:
        whole = settings.train.model_copy(update={"bytes_per_domain": sample, "domains": None})
        settings = settings.model_copy(update={"train": whole})
    tokenizer = ensure_tokenizer(settings, parts, folder, workspace.base, lambda line: None)
    training = time.perf_counter() - started
    write = SplitTokenizer(folder / "shard", tokenizer, ("train", "validation"), 0, 0.1)
    started = time.perf_counter()
    write.run(DropDuplicates().run(itertools.chain.from_iterable(read.run() for read in readers)))
    seconds = time.perf_counter() - started
    read = sum(write.bytes.values())
    return TextSpeed(
        megabytes_per_second=read / 1e6 / seconds,
        training_per_megabyte=training / (sample / 1e6) if settings.train is not None else 0.0,
        bytes_per_token=read / max(1, sum(write.tokens.values())),
        beginning=beginning,
        source=f"measured here on {sample / 1e6:.0f} MB",
    )


def stated_speed(cores: int) -> TextSpeed:
    """Of so many cores, where nothing was measured."""
    return TextSpeed(
        stated.TOKENISE_MB_PER_CORE * cores,
        stated.TRAIN_TOKENIZER_SECONDS_PER_MB,
        None,
        stated.READING_SECONDS,
        f"stated: {stated.TOKENISE_MB_PER_CORE:g} MB/s a core",
    )


def recorded_text_speed(workspace: Workspace, otherwise: TextSpeed) -> TextSpeed | None:
    """The rate at which this home's shards were made; None where there are none. The rest is as ``otherwise`` says."""
    records = [workspace.records.latest("token_shards", name) for name in workspace.study.sources]
    made = [record for record in records if record is not None and record.seconds > 0]
    seconds = sum(record.seconds for record in made)
    if not seconds:
        return None
    megabytes = sum(record.facts["megabytes"] for record in made)
    tokens = sum(record.facts["tokens"] for record in made)
    return replace(
        otherwise,
        megabytes_per_second=megabytes / seconds,
        bytes_per_token=1e6 * megabytes / tokens,
        beginning=0.0,
        source=f"recorded here: {len(made)} shards",
    )


def tokenizer_sample(study: Study) -> float:
    """UTF-8 bytes that a tokenizer is trained on, at most; 0 where one is given."""
    if study.tokenizer is None or study.tokenizer.train is None:
        return 0.0
    training = study.tokenizer.train
    return float(training.bytes_per_domain * len(training.domains or study.domains))
