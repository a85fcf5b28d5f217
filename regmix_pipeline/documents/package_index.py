"""A file of a Python package index, for a Python without pip, as uv makes them: the index's page of links, PEP 503."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
"""Variables of the environment that name an index, the first that is set."""
_PYPI = "https://pypi.org/simple"
_SECONDS = (20.0, 120.0)
"""Until an index has to answer, and between two pieces of its answer."""


def index_url() -> str:
    """Address of the index to ask."""
    given = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), _PYPI)
    return re.sub(r"^[\w.-]+=(?=https?://)", "", given).rstrip("/")  # uv takes a name before the address


def download(package: str, file: str, folder: Path) -> Path | None:
    """Fetch a file of a package into a folder; None where the index does not offer it. The caller checks its hash.

    Raises:
        OSError: the index cannot be reached or refuses.
    """
    import requests

    with requests.Session() as session:
        page = session.get(f"{index_url()}/{package}/", headers={"Accept": "text/html"}, timeout=_SECONDS)
        if page.status_code == requests.codes.not_found:
            return None
        page.raise_for_status()
        address = _links(page.text, page.url).get(file)
        if address is None:
            return None
        path = folder / file
        # Some servers call a .tar.gz an encoding, which would be undone.
        as_it_is = {"Accept-Encoding": "identity"}
        with (
            session.get(address, headers=as_it_is, stream=True, timeout=_SECONDS) as answer,
            path.open("wb") as written,
        ):
            answer.raise_for_status()
            written.writelines(answer.iter_content(1 << 20))
    return path


def _links(page: str, url: str) -> dict[str, str]:
    """File -> address, of the links of an index's page."""
    parser = _Anchors()
    parser.feed(page)
    addresses = [urljoin(url, href) for href in parser.found]
    return {unquote(PurePosixPath(urlsplit(each).path).name): each for each in addresses}


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]
