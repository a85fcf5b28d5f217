"""One fsspec address through which shards, finished proxies and snapshots go from machine to machine.

Everything in it has the id of its content, so nothing is ever replaced: what is there is right, and putting it twice
is harmless. A proxy's folder counts as there once its `proxy.json` is, which is written last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from regmix_pipeline.errors import ProxyError, TokenError
from regmix_pipeline.files import folder_written_atomically, sha256_of, written_atomically
from regmix_pipeline.proxies.spec import PROXY_FILES, ProxySpec, TokenFile

COMMIT = "proxy.json"

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
        """Copy a file out, whole or not at all.

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
                self.put(file.path, *where)

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

    def has_proxy(self, spec: ProxySpec) -> bool:
        """Whether the finished proxy is there, whole."""
        return self.has(spec.folder.name, spec.id, COMMIT)

    def put_proxy(self, folder: Path) -> None:
        """Put a finished proxy's folder, its commit mark last."""
        for name in sorted(PROXY_FILES, key=lambda name: name == COMMIT):
            self.put(folder / name, folder.parent.name, folder.name, name)

    def get_proxy(self, folder: Path) -> None:
        """Fetch a finished proxy's folder, whole or not at all.

        Raises:
            ProxyError: its weights are not the ones that were written.
        """
        with folder_written_atomically(folder) as temporary:
            for name in PROXY_FILES:
                self.get(temporary / name, folder.parent.name, folder.name, name)
            written = json.loads((temporary / COMMIT).read_text())["sha256"]
            if sha256_of(temporary / "model.safetensors") != written:
                where = self.place(folder.parent.name, folder.name)
                raise ProxyError("weights in the store were altered", where=where, remedy="delete that folder there")


def _of_tokens(file: TokenFile) -> tuple[str, str, str]:
    return "shards", file.version, file.path.name
