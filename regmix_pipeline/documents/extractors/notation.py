"""Python sources and music."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from regmix_pipeline.documents.extractors.archives import Extracted, decoded, zip_members

CODE_BYTES = (200, 200_000)
"""Smallest and largest source file taken, in bytes: empty __init__ files and generated tables are left out."""
NOT_LIBRARY = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
"""Folders of the standard library's tree that hold installed packages or test data."""


def standard_library() -> list[Path]:
    """The running interpreter's own Python sources, sorted by path."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return [path for path in sorted(_sources(root)) if CODE_BYTES[0] <= path.stat().st_size <= CODE_BYTES[1]]


def _sources(folder: Path) -> Iterator[Path]:
    # Not rglob: it would walk through all of site-packages only to throw it away.
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in NOT_LIBRARY and not path.is_symlink():
                yield from _sources(path)
        elif path.suffix == ".py":
            yield path


def code_python(_packages: Mapping[str, Path]) -> Extracted:
    """The running interpreter's standard library, one document a file, sorted by path."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in standard_library():
        yield path.relative_to(root).as_posix(), decoded(path.read_bytes())


def music(packages: Mapping[str, Path]) -> Extracted:
    """Tunes in ABC notation (books cut at each ``X:`` line) and scores in Humdrum's kern, sorted by file name."""
    for name, content in zip_members(packages["music21"], r"/corpus/.*\.(abc|krn)$"):
        score = str(PurePosixPath(*PurePosixPath(name).parts[2:]))
        text = decoded(content)
        # What stands before a book's first tune belongs to it.
        tunes = re.split(r"\n(?=X:)", text) if score.endswith(".abc") else [text]
        if len(tunes) > 1 and not tunes[0].startswith("X:"):
            tunes[:2] = ["\n".join(tunes[:2])]
        for number, tune in enumerate(tunes):
            yield f"{score}/{number}", tune.strip()
