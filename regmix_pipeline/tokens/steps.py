"""The steps between a reader and a shard, in datatrove's manner. Imported only when a shard is made."""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.tokens.tokenizer import TokenizedFile

from regmix_pipeline.tokens.long_documents import PIECE, token_pieces
from regmix_pipeline.tokens.split import SplitName, split_of, text_digest
from regmix_pipeline.tokens.tokenizer import TokenizerFile, load_for_text

BATCH_CHARACTERS = 1_000_000
"""Characters encoded at once: batches by count would hold gigabytes where documents are books."""


class DropDuplicates(PipelineStep):
    """Pass the first of equal texts, drop the others; leave the text's digest in the metadata for the next step."""

    name = "drop exact duplicates"
    type = "filter"

    def __init__(self) -> None:
        super().__init__()
        self.duplicates = 0

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield documents whose text was not seen before."""
        self.duplicates = 0
        seen: set[bytes] = set()
        for document in data:
            digest = text_digest(document.text)
            if digest in seen:
                self.duplicates += 1
                continue
            seen.add(digest)
            document.metadata["digest"] = digest
            yield document


class SplitTokenizer(DocumentTokenizer):
    """datatrove's DocumentTokenizer, writing ``train.ds`` and ``validation.ds`` in one pass over the documents.

    Text that spells a special token is encoded as ordinary text: only the end of a document is an eos token.
    ``list_documents`` writes ``train.documents`` and ``validation.documents`` beside them: for each document the digest
    of its text and its length in UTF-8 bytes, as uint64.
    """

    def __init__(
        self,
        output_folder: Path,
        tokenizer: TokenizerFile,
        splits: tuple[SplitName, ...],
        seed: int,
        fraction: float,
        *,
        list_documents: bool = False,
    ) -> None:
        super().__init__(
            str(output_folder),
            str(tokenizer.path),
            eos_token=tokenizer.eos_token,
            save_final_metadata=False,
            shuffle_documents=False,
        )
        # datatrove counts tokens to choose the type, which is too narrow for a vocabulary with gaps in its ids.
        self.token_size = 2 if tokenizer.dtype == "uint16" else 4
        self.tokenizer = load_for_text(tokenizer.path, tokenizer.eos_token)
        self.list_documents = list_documents
        self.splits = splits
        self.seed = seed
        self.fraction = fraction
        self.documents: dict[str, int] = dict.fromkeys(splits, 0)
        self.bytes: dict[str, int] = dict.fromkeys(splits, 0)
        self.tokens: dict[str, int] = dict.fromkeys(splits, 0)

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Write every document to its split's file, in reading order, and the index of document ends beside it."""
        tokenizer = self.tokenizer
        with contextlib.ExitStack() as opened:
            files = {split: self._opened(split) for split in self.splits}
            for file in files.values():
                opened.callback(file.tokens_file.close)
            lists = {
                split: opened.enter_context(self.output_folder.open(f"{split}.documents", mode="wb"))
                for split in (self.splits if self.list_documents else ())
            }
            for batch in _batches(data):
                long = len(batch[0].text) > PIECE  # then it is alone
                encodings = () if long else tokenizer.encode_batch_fast([document.text for document in batch])
                for place, document in enumerate(batch):
                    split, length = self.split(document), len(document.text.encode())
                    if long:
                        self._write_long(files[split], document.text)
                    else:
                        files[split].write(encodings[place].ids, None)
                    self.documents[split] += 1
                    self.bytes[split] += length
                    if lists:
                        lists[split].write(document.metadata["digest"] + struct.pack("<Q", length))
        for split, file in files.items():
            file.close()
            self.tokens[split] = len(file)

    def _write_long(self, file: TokenizedFile, text: str) -> None:
        """Write a document piece by piece; its end goes to the index with the last bytes."""
        for ids in token_pieces(self.tokenizer, text):
            file.write_bytes(struct.pack(f"<{len(ids)}{file.token_format}", *ids), doc_ends=[])
        file.write_bytes(b"")

    def split(self, document: Document) -> SplitName:
        """The split of a document; the only one there is, if there is one."""
        if len(self.splits) == 1:
            return self.splits[0]
        return split_of(document.metadata["digest"], self.seed, self.fraction)

    def _opened(self, split: str) -> TokenizedFile:
        return TokenizedFile(self.output_folder, f"{split}.ds", save_index=True, token_size=self.token_size)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents of some `BATCH_CHARACTERS` together; one longer than a piece by itself."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        length = len(document.text)
        if batch and (characters >= BATCH_CHARACTERS or length > PIECE):
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += length
    if batch:
        yield batch
