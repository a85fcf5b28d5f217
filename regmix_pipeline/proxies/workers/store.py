"""One fsspec address through which shards, finished proxies and snapshots go from machine to machine.

Everything in it has the id of its content, so what is there is right, and putting it twice is harmless. A proxy's
folder counts as there once its `proxy.json` is, which is written last; one that turns out damaged loses that mark, and
is put there again.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from regmix_pipeline.errors import ProxyError, TokenError
from regmix_pipeline.files import folder_written_atomically, sha256_of, written_atomically
from regmix_pipeline.proxies.integrity import RECORD, SPEED, STATE, damage_of, require_intact
from regmix_pipeline.proxies.spec import PROXY_FILES, ProxySpec, TokenFile
from regmix_pipeline.tokens.extents import ENDING, token_blocks

COMMIT = RECORD
BESIDES = (SPEED, STATE)
"""Files that not every proxy has: earlier versions wrote no speeds, and only models that others go on from keep AdamW's
averages."""

_patiently = retry(
    retry=retry_if_exception_type((TimeoutError, ConnectionError)),
    stop=stop_after_attempt(5),
    wait=wait_exponential_jitter(multiplier=0.5, max=20),
    reraise=True,
)


class Store:
    """Files of a study under one address.

    Args:
        address: any that fsspec knows: ``s3://bucket/demo``, ``gs://...``, ``/shared/demo``.

    Raises:
        ProxyError: the address needs a package that is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        try:
            self.files, self.root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            raise ProxyError(
                f"{address}: {error}", where="proxies.engine.store", remedy="install the package it names"
            ) from error
        # Objects that another machine wrote since must not be hidden by a listing of before.
        self.files.invalidate_cache()

    def place(self, *parts: str) -> str:
        """The full path of a file."""
        return "/".join([self.root, *parts])

    @_patiently
    def has(self, *parts: str) -> bool:
        """Whether a file is there."""
        self.files.invalidate_cache()
        return bool(self.files.isfile(self.place(*parts)))

    @_patiently
    def put(self, path: Path, *parts: str) -> None:
        """Copy a file in. On a file system it appears whole, as objects do by themselves."""
        place = self.place(*parts)
        self.files.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
        if "file" in self.files.protocol:
            with written_atomically(Path(place)) as temporary:
                temporary.write_bytes(path.read_bytes())
        else:
            self.files.put_file(str(path), place)

    @_patiently
    def get(self, path: Path, *parts: str) -> None:
        """Copy a file out, completely or not at all.

        Raises:
            FileNotFoundError: it is not there.
        """
        with written_atomically(path) as temporary:
            self.files.get_file(self.place(*parts), str(temporary))

    @_patiently
    def remove(self, *parts: str) -> None:
        """Delete a file that may be there."""
        if self.has(*parts):
            self.files.rm_file(self.place(*parts))

    @_patiently
    def read_json(self, *parts: str) -> Any:
        """The content of a JSON file.

        Raises:
            FileNotFoundError: it is not there.
        """
        return json.loads(self.files.cat_file(self.place(*parts)))

    def put_tokens(self, files: Iterable[TokenFile]) -> None:
        """Put token files that are not there yet."""
        for file in {file.path: file for file in files}.values():
            where = _of_tokens(file)
            if not self.has(*where):
                with _as_one_file(file) as path:
                    self.put(path, *where)

    def cached_tokens(self, file: TokenFile, cache: Path) -> TokenFile:
        """The token file in this machine's cache; fetched and compared with its checksum unless it is there.

        Raises:
            TokenError: the store does not hold it, or holds another.
        """
        path = cache.joinpath(*_of_tokens(file))
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not path.is_file():
                self._fetch(file, path)
        return file.model_copy(update={"path": path})

    def _fetch(self, file: TokenFile, path: Path) -> None:
        where = _of_tokens(file)
        arriving = path.with_name(f".{path.name}.arriving")
        try:
            self.get(arriving, *where)
        except FileNotFoundError:
            raise TokenError(
                "the store does not hold it", where=self.place(*where), remedy="run the study where its shards are"
            ) from None
        if file.sha256 and sha256_of(arriving) != file.sha256:
            arriving.unlink()
            raise TokenError(
                "the store's file is not the one of the manifest",
                where=self.place(*where),
                remedy="delete it there",
            )
        arriving.rename(path)

    def has_folder(self, folder: Path) -> bool:
        """Whether the finished proxy of this folder's name is there."""
        return self.has(folder.parent.name, folder.name, COMMIT)

    def has_proxy(self, spec: ProxySpec) -> bool:
        """Whether the finished proxy is there, whole, and its landmark with it."""
        return all(self.has_folder(each.output) for each in folders_of(spec))

    def record_of(self, spec: ProxySpec) -> dict[str, Any] | None:
        """What `proxy.json` holds, or None where the proxy or its landmark is not there; a damaged one is dropped."""
        if not self.has_proxy(spec):
            return None
        try:
            return self.read_json(spec.folder.name, spec.id, COMMIT)
        except ValueError:
            self.drop_proxy(spec.output)
            return None

    def put_proxy(self, folder: Path) -> None:
        """Put a finished proxy's folder, its commit mark last.

        Raises:
            ProxyError: its weights are not the ones that were written; it is set aside, and nothing is put.
        """
        require_intact(folder, _missing_of(folder))
        for name in BESIDES:
            if (folder / name).is_file():
                self.put(folder / name, folder.parent.name, folder.name, name)
        for name in sorted(PROXY_FILES, key=lambda name: name == COMMIT):
            self.put(folder / name, folder.parent.name, folder.name, name)

    def put_missing(self, folder: Path) -> None:
        """Put a finished proxy's folder unless it is there.

        Raises:
            ProxyError: as `put_proxy`.
        """
        if not self.has_folder(folder):
            self.put_proxy(folder)

    def get_proxy(self, folder: Path) -> None:
        """Fetch a finished proxy's folder, completely or not at all.

        Raises:
            ProxyError: it is not there, or its weights are not the ones that were written; it is then dropped.
        """
        where = self.place(folder.parent.name, folder.name)
        if not self.has_folder(folder):
            raise ProxyError("the store does not hold it", where=where, remedy="run again: it is trained again")
        with folder_written_atomically(folder) as temporary:
            # A file that is missing is named by the comparison.
            with contextlib.suppress(FileNotFoundError):
                for name in PROXY_FILES:
                    self.get(temporary / name, folder.parent.name, folder.name, name)
            for name in BESIDES:
                with contextlib.suppress(FileNotFoundError):
                    self.get(temporary / name, folder.parent.name, folder.name, name)
            problem = _missing_of(temporary) or damage_of(temporary)
            if problem:
                self.drop_proxy(folder)
                raise ProxyError(
                    f"no complete proxy in the store: {problem}",
                    where=where,
                    remedy="run again: it no longer counts as there, and this proxy alone is put there again",
                )

    def drop_proxy(self, folder: Path) -> None:
        """Let a damaged proxy no longer count as there; whoever has or trains it replaces it."""
        self.remove(folder.parent.name, folder.name, COMMIT)


def folders_of(spec: ProxySpec) -> list[ProxySpec]:
    """The proxies that a task leaves behind, each a folder: its landmark first, then itself."""
    return [spec] if spec.landmark is None else [spec.at_landmark, spec]


def _missing_of(folder: Path) -> str:
    """Which of a finished proxy's files are not there; empty for none."""
    missing = [name for name in PROXY_FILES if not (folder / name).is_file()]
    return f"{', '.join(missing)} missing" if missing else ""


def _of_tokens(file: TokenFile) -> tuple[str, str, str]:
    return "shards", file.version, f"{file.path.stem}.ds" if file.path.suffix == ENDING else file.path.name


@contextlib.contextmanager
def _as_one_file(file: TokenFile) -> Iterator[Path]:
    """A split's tokens as one file, for machines that do not see the files that they lie in."""
    if file.path.suffix != ENDING:
        yield file.path
        return
    with tempfile.NamedTemporaryFile(prefix="regmix-tokens-") as copy:
        for block in token_blocks(file.path, file.dtype):
            copy.write(block)
        copy.flush()
        yield Path(copy.name)
