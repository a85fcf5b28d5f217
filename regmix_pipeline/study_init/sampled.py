"""What a sample of a domain's documents shows: the field of the text, its size, and bytes per token."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from regmix_pipeline.documents.columns import readable_values
from regmix_pipeline.documents.decompress import decompressed
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.hub import hub_problem
from regmix_pipeline.study.settings.tokens import TokenizerSettings
from regmix_pipeline.study_init.found import FoundDomain

LOOKED_AT = 200
"""Documents at the beginning of a file from which the field of the text is found."""
FILES = 5
"""Files of a domain that are sampled, evenly spaced over their order."""
SAMPLE_BYTES = 2_000_000
"""Text taken from a domain, UTF-8 bytes, shared between its sampled files."""
COMMON = ("text", "content", "raw_content", "body", "document", "article", "abstract", "markdown", "code")
"""Names under which text is found, the likeliest first."""


@dataclass(frozen=True)
class Sampled:
    """A domain as its sample shows it; all sizes are estimates unless `whole`.

    Attributes:
        domain: what was found.
        text_field: the field of the text.
        fields: all fields of the first documents.
        texts: the sample.
        text_bytes: UTF-8 bytes of text in all files.
        documents: documents in all files.
        whole: whether the sample is all there is.
    """

    domain: FoundDomain
    text_field: str
    fields: tuple[str, ...]
    texts: tuple[str, ...]
    text_bytes: int
    documents: int
    whole: bool


def sample_of(domain: FoundDomain) -> Sampled:
    """Read the beginning of some of a domain's files.

    Sizes are extrapolated from the share of the sampled files that was read, in bytes on disk or in rows.

    Raises:
        DocumentError: no document, or none with a field of text.
    """
    step = max((len(domain.files) - 1) / max(FILES - 1, 1), 1)
    paths = [domain.files[i] for i in sorted({round(k * step) for k in range(FILES)} & set(range(len(domain.files))))]
    first = list(itertools.islice((record for path in paths for record, _ in _records(path)), LOOKED_AT))
    text_field, fields = text_field_of(first, domain)
    texts: list[str] = []
    read = text_bytes = 0.0
    exhausted = 0
    for path in paths:
        taken, share = 0, 0.0
        for record, done in _records(path):
            share = done
            if isinstance(text := record.get(text_field), str) and text.strip():
                texts.append(text)
                taken += len(text.encode())
            if taken >= SAMPLE_BYTES / len(paths):
                break
        else:
            share = 1.0
            exhausted += 1
        text_bytes, read = text_bytes + taken, read + share * path.stat().st_size
    if not texts:
        raise DocumentError(
            f"no document has text in the field {text_field!r}", where=domain.pattern, remedy="look at the files"
        )
    complete = exhausted == len(domain.files)
    scale = 1.0 if complete else domain.disk_bytes / read
    return Sampled(
        domain,
        text_field,
        fields,
        tuple(texts),
        round(text_bytes * scale),
        round(len(texts) * scale),
        complete,
    )


def text_field_of(records: list[dict[str, Any]], domain: FoundDomain) -> tuple[str, tuple[str, ...]]:
    """The field that holds the text: one of the common names if most records have it as a string, else the longest.

    Raises:
        DocumentError: there is no field of text in all records.
    """
    fields = tuple(dict.fromkeys(name for record in records for name in record))
    held = {name: [record[name] for record in records if isinstance(record.get(name), str)] for name in fields}
    # The reader stops at a document without text, so the field must be there in every one.
    full = {name: sum(map(len, values)) for name, values in held.items() if records and len(values) == len(records)}
    if not full or not max(full.values()):
        listed = ", ".join(fields) or "none"
        raise DocumentError(
            f"no field holds text in every one of the first {len(records)} documents; the fields are {listed}",
            where=str(domain.files[0]),
            remedy='give every document a field with its text, for instance "text"',
        )
    common = next((name for name in COMMON if full.get(name)), None)
    return common or max(full, key=lambda name: full[name]), fields


def bytes_per_token(samples: Mapping[str, Sampled], settings: TokenizerSettings) -> dict[str, float]:
    """Domain -> UTF-8 bytes per token of the tokenizer that the study would train, as trained on the samples."""
    from regmix_pipeline.tokens.tokenizer import ensure_tokenizer, load

    readers = {
        name: partial(map, lambda text: SimpleNamespace(text=text), sample.texts) for name, sample in samples.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        made = ensure_tokenizer(settings, readers, Path(folder), Path(folder), lambda line: None)
        tokenizer = load(made.path)
        found = {}
        for name, sample in samples.items():
            counted = sum(len(encoding.ids) + 1 for encoding in tokenizer.encode_batch(list(sample.texts)))
            found[name] = sum(len(text.encode()) for text in sample.texts) / counted
    return found


def _records(path: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """The records of a file and the share of it that was read when each came."""
    return _rows(path) if path.name.lower().endswith(".parquet") else _lines(path)


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], float]]:
    import orjson
    from zstandard import ZstdError

    size, number = path.stat().st_size, 0
    try:
        # In small pieces, so that the stream's place says how much of the file a sample took.
        with path.open("rb") as stream, decompressed(stream, path.name, 8192) as lines:
            for number, line in enumerate(lines, start=1):
                record = orjson.loads(line.removeprefix(b"\xef\xbb\xbf")) if line.strip() else None
                if record is not None and not isinstance(record, dict):
                    raise DocumentError("not an object", where=f"{path}:{number}", remedy="write one object per line")
                if record is not None:
                    yield record, max(stream.tell() / size, 1e-9)
    except orjson.JSONDecodeError as error:
        raise DocumentError(
            f"malformed JSON: {error}", where=f"{path}:{number}", remedy="write one JSON object per line"
        ) from error
    except (EOFError, OSError, ZstdError) as error:
        problem, remedy = hub_problem(error) or (f"damaged: {error}", "make it again")
        raise DocumentError(problem, where=f"{path}:{number + 1}", remedy=remedy) from error


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], float]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            strings = [
                field.name
                for field in file.schema_arrow
                if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
            ]
            total, done = max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(batch_size=LOOKED_AT, columns=strings):
                for values in zip(*map(readable_values, batch.columns), strict=True):
                    done += 1
                    yield dict(zip(strings, values, strict=True)), done / total
    except (pa.ArrowException, OSError) as error:
        problem, remedy = hub_problem(error) or (f"cannot be read: {error}", "make the file again")
        raise DocumentError(problem, where=str(path), remedy=remedy) from error
