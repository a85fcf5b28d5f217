"""The checksum of the ledger as it was built, in a file beside it: whether anybody else has written to it since."""

from __future__ import annotations

from pathlib import Path

from regmix_pipeline.files import read_json, sha256_of, write_json


def note_sum(ledger: Path, built: Path) -> None:
    """Note the checksum of a ledger that is about to take its place, beside that of the one it replaces."""
    known = _known(ledger)
    before = [known[0]] if known else []
    write_json(_place(ledger), {"sha256": [sha256_of(built), *before]})


def is_noted(ledger: Path) -> bool:
    """Whether a checksum is noted."""
    return bool(_known(ledger))


def written_to(ledger: Path) -> bool:
    """Whether a ledger is another file than was built; False where nothing is known of it."""
    known = _known(ledger)
    return bool(known) and ledger.is_file() and sha256_of(ledger) not in known


def _known(ledger: Path) -> list[str]:
    try:
        return [str(each) for each in read_json(_place(ledger))["sha256"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _place(ledger: Path) -> Path:
    return ledger.with_name(f".{ledger.name}.json")
