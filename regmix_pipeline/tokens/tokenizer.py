"""The tokenizer file: a given one, checked, one of the Hugging Face Hub, or a byte-level BPE trained once; the latter
two are frozen from then on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from regmix_pipeline.engine.leftovers import sweep
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.files import ID_LENGTH, fingerprint, folder_written_atomically, read_json, sha256_of, write_json
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.study.settings.tokens import TokenizerSettings, TokenizerTraining

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAINER_VERSION = 1
"""To be raised when training on the same sample would give another tokenizer."""
FILE, INFO = "tokenizer.json", "tokenizer.info.json"


class HasText(Protocol):
    """A document, as far as training is concerned."""

    text: str


Documents = Callable[[], Iterable[HasText]]
"""Begins to read a domain; a reader of `regmix_pipeline.documents.readers` is one."""


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer.json that has been checked."""

    path: Path
    version: str
    """Fingerprint of the file's bytes."""
    vocab_size: int
    """Largest token id plus one: the rows that an embedding needs."""
    eos_token: str
    eos_id: int
    trained_on: dict[str, Any] | None = None
    """``{domain: {"documents", "bytes", "sha256"}}`` of the sample it was trained on, None for a given file."""
    commit: str | None = None
    """Commit of the Hugging Face Hub that it was fetched at; None for another."""

    @property
    def dtype(self) -> str:
        """Type of a token in a shard: ``uint16`` if every id fits, else ``uint32``."""
        return "uint16" if self.vocab_size <= 1 << 16 else "uint32"


def tokenizer_version(path: Path) -> str:
    """16 hex digits of the SHA-256 of the file's bytes."""
    return sha256_of(path)[:ID_LENGTH]


def ensure_tokenizer(
    settings: TokenizerSettings,
    readers_by_domain: Mapping[str, Documents],
    folder: Path,
    base: Path,
    say: Say = to_stderr,
    *,
    commit: str | None = None,
) -> TokenizerFile:
    """The study's tokenizer; trained or fetched on the first call for given settings, the same file ever after.

    Args:
        settings: a file, a name on the Hugging Face Hub, or how to train.
        readers_by_domain: ``{domain: callable that begins to read it}``; called only when a tokenizer is trained.
        folder: where trained and fetched tokenizers are kept, each under the fingerprint of its settings.
        base: folder that a relative ``settings.file`` starts at.
        say: called with a line about a training or a download.
        commit: of the Hub, where it was fetched before and was lost.

    Raises:
        TokenError: the file is missing, is not a tokenizer, or has no ``eos_token``; a frozen tokenizer was altered;
            ``train.domains`` names a domain that is not there; the Hub does not give it.
        DocumentError: there is no text to train on.
    """
    if settings.file is not None:
        return checked(base / Path(settings.file).expanduser(), settings.eos_token)
    frozen = frozen_folder(settings, folder)
    if not all((frozen / name).exists() for name in (FILE, INFO)):
        sweep(folder)
        with folder_written_atomically(frozen) as temporary:
            if settings.train is None:
                _fetch(settings, commit, temporary, say)
            else:
                _train(settings.train, settings.eos_token, readers_by_domain, temporary, say)
    return _frozen(frozen, settings.eos_token)


def frozen_folder(settings: TokenizerSettings, folder: Path) -> Path:
    """Where a trained or fetched tokenizer of these settings is kept, under the folder of all."""
    if settings.train is None:
        return folder / fingerprint("tokenizer of the Hub", settings.hub, settings.revision)
    return folder / fingerprint("tokenizer", TRAINER_VERSION, settings.train.model_dump(), settings.eos_token)


def _frozen(folder: Path, eos_token: str) -> TokenizerFile:
    info = read_json(folder / INFO)
    if tokenizer_version(folder / FILE) != info["version"]:
        raise TokenError(
            f"this frozen tokenizer was altered after {'it was fetched' if 'commit' in info else 'its training'}",
            where=str(folder / FILE),
            remedy=f"put it back, or delete {folder} to "
            + ("fetch it again" if "commit" in info else "train it again (every shard then has another version)"),
        )
    return checked(folder / FILE, eos_token, info.get("trained_on"), info.get("commit"))


def checked(
    path: Path, eos_token: str, trained_on: dict[str, Any] | None = None, commit: str | None = None
) -> TokenizerFile:
    """Look at a tokenizer.json. Raises TokenError where it is missing, no tokenizer, or knows no ``eos_token``."""
    tokenizer = load(path)
    eos_id = tokenizer.token_to_id(eos_token)
    if eos_id is None:
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        raise TokenError(
            f"this tokenizer has no token {eos_token!r} to end documents with",
            where=str(path),
            remedy=f"set tokenizer.eos_token to one of its tokens; its special tokens are "
            f"{', '.join(special) or 'none'}",
        )
    vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return TokenizerFile(path, tokenizer_version(path), vocab_size, eos_token, eos_id, trained_on, commit)


def load_for_text(path: Path, eos_token: str | None = None) -> Tokenizer:
    """As `load`, for text as it is: see `encode_as_text`. With an ``eos_token``, whatever is encoded ends with it.

    A process has one object for a file. The library keeps what each object has encoded, for as long as the threads live
    that it ran on, so an object for each of a thousand sources would hold a gigabyte.
    """
    return _for_text(path, tokenizer_version(path) if path.is_file() else "", eos_token)


@lru_cache(maxsize=8)
def _for_text(path: Path, version: str, eos_token: str | None) -> Tokenizer:
    """``version`` says which content of the file is meant."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = load(path)
    encode_as_text(tokenizer)
    if eos_token is not None:
        end = [("<EOS>", tokenizer.token_to_id(eos_token))]
        tokenizer.post_processor = TemplateProcessing(single="$A <EOS>", special_tokens=end)  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer


def encode_as_text(tokenizer: Tokenizer) -> None:
    """Let all of a text be encoded, and what spells a special token as ordinary text."""
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()


def load(path: Path) -> Tokenizer:
    """The tokenizers library's object for a tokenizer.json. Raises TokenError."""
    from tokenizers import Tokenizer

    if not path.is_file():
        inside = path / FILE
        raise TokenError(
            "is a folder" if path.is_dir() else "there is no such tokenizer file",
            where=str(path),
            remedy=f"give {inside}"
            if inside.is_file()
            else "give the path of a tokenizer.json, or train one: `tokenizer: {train: {vocab_size: 8192}}`",
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise TokenError(
            f"is not a tokenizer: {error}",
            where=str(path),
            remedy="give a tokenizer.json as the tokenizers library saves it (not vocab.json, merges.txt or a config)",
        ) from error


def _fetch(settings: TokenizerSettings, commit: str | None, folder: Path, say: Say) -> None:
    from regmix_pipeline.hub import commit_of, fetched_file

    assert settings.hub is not None
    wanted = commit or commit_of(settings.hub, settings.revision)
    shutil.copyfile(fetched_file(settings.hub, wanted, FILE), folder / FILE)
    info = {
        "version": tokenizer_version(folder / FILE),
        "hub": settings.hub,
        "revision": settings.revision or "main",
        "commit": wanted,
    }
    write_json(folder / INFO, info)
    say(f"  fetched the tokenizer {settings.hub} at commit {wanted[:12]}")


def _train(
    training: TokenizerTraining, eos_token: str, readers: Mapping[str, Documents], folder: Path, say: Say
) -> None:
    import tokenizers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    domains = training.domains or tuple(readers)
    if unknown := [domain for domain in domains if domain not in readers]:
        raise TokenError(
            f"there is no domain {unknown[0]!r} to train the tokenizer on",
            where="tokenizer.train.domains",
            remedy=f"name domains of the study: {', '.join(readers)}",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=training.vocab_size,
        special_tokens=[eos_token],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained_on: dict[str, Any] = {}
    tokenizer.train_from_iterator(_sample(training.bytes_per_domain, sorted(domains), readers, trained_on), trainer)
    total = sum(part["bytes"] for part in trained_on.values())
    if not total:
        raise DocumentError(
            "there is no text to train the tokenizer on",
            where="tokenizer.train",
            remedy=f"check the documents of {', '.join(domains)}",
        )
    tokenizer.save(str(folder / FILE))
    info = {
        "version": tokenizer_version(folder / FILE),
        "kind": "byte-level BPE",
        "vocab_size": tokenizer.get_vocab_size(),
        "settings": training.model_dump() | {"eos_token": eos_token},
        "trained_on": trained_on,
        "library": f"tokenizers {tokenizers.__version__}",
    }
    write_json(folder / INFO, info)
    say(f"  trained a tokenizer of {info['vocab_size']:,} tokens on {total / 1e6:.1f} MB of {len(trained_on)} domains")


def _sample(
    bytes_per_domain: int, domains: Iterable[str], readers: Mapping[str, Documents], trained_on: dict[str, Any]
) -> Iterator[str]:
    """The first ``bytes_per_domain`` of each domain, the last document cut; what was taken is noted on the way."""
    for domain in domains:
        documents = taken = 0
        digest = hashlib.sha256()
        for document in readers[domain]():
            content = document.text.encode()[: bytes_per_domain - taken]
            documents += 1
            taken += len(content)
            digest.update(content)
            # A cut may fall inside a character.
            yield content.decode(errors="ignore")
            if taken >= bytes_per_domain:
                break
        trained_on[domain] = {"documents": documents, "bytes": taken, "sha256": digest.hexdigest()}
