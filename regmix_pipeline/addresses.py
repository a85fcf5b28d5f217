"""Addresses without what lets somebody in: passwords, tokens and signatures do not belong on record."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_plus

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`]+")
_USER = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/?#]*)@")
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs", "az", "adl")
"""Schemes in which a name before the @ is a container's, part of the address."""
_NAMED = ("sftp", "ssh", "ftp", "ftps", "hdfs", "smb")
"""Schemes in which the name of a user is not a secret, as a token in its place is on the web."""
_SECRET = re.compile(
    r"""^(x-(amz|goog|ms|oss|cos|obs|tos)-.*            # presigned by an object store
        |.*(signature|credential|token|secret|passw|pwd|apikey|accesskey|accessid|jwt|hmac|session|authori[sz]ation).*
        |sig|auth|policy|expires
        )$""",
    re.VERBOSE | re.IGNORECASE,
)
_AZURE = re.compile(r"^(s[eiprstv]|srt|spr|sip|ske|skt|sks|skv|skoid|sktid|saoid|suoid|scid|sdd)$")
"""What goes with Azure's ``sig``."""
_PERHAPS = ("key", "code")
"""Names of keys to services, and of things: of the latter where the value has a dot or a slash."""


def without_credentials(address: str) -> str:
    """An fsspec address without password, token or signature; equal for equal places, whatever lets one in.

    >>> without_credentials("https://alice:pass@host/code.jsonl?version=3&X-Amz-Signature=0f")
    'https://host/code.jsonl?version=3'
    """
    return "::".join(_one(part) for part in address.split("::"))


def local_path(address: str, base: Path) -> str:
    """Absolute path of a local address or glob, relative ones from the folder ``base``; ``~`` is the user's home.

    >>> local_path("text/*.jsonl", Path("/study"))
    '/study/text/*.jsonl'
    """
    return os.path.abspath(base / os.path.expanduser(address))


def has_credentials(address: str) -> bool:
    """Whether an address holds a password, a token or a signature."""
    return without_credentials(address) != address


def text_without_credentials(text: str) -> str:
    """A text, such as another library's error, with every address in it as `without_credentials` has it."""
    return _ADDRESS.sub(lambda found: without_credentials(found.group()), text) if "://" in text else text


def _one(address: str) -> str:
    found = _USER.match(address)
    if found:
        scheme, user = found["scheme"], found["user"]
        name, kind = user.partition(":")[0], scheme.split(":")[0].lower()
        keeps = kind in _CONTAINERS or (kind in _NAMED and name)
        address = scheme + (f"{name}@" if keeps else "") + address[found.end() :]
    if "://" not in address:
        return address
    place, fragment_mark, fragment = address.partition("#")
    place, mark, query = place.partition("?")
    pairs = query.split("&")
    azure = any(pair.lower().startswith("sig=") for pair in pairs)
    kept = [pair for pair in pairs if not _secret(pair) and not (azure and _AZURE.match(pair.partition("=")[0]))]
    if fragment_mark and any(_secret(pair) for pair in fragment.split("&")):
        fragment_mark = fragment = ""
    return place + (mark + "&".join(kept) if "&".join(kept) else "") + fragment_mark + fragment


def _secret(pair: str) -> bool:
    name, sign, value = pair.partition("=")
    plain = unquote_plus(name)
    if plain.lower() in _PERHAPS:
        return not any(mark in unquote_plus(value) for mark in "./")
    return bool(sign) and bool(_SECRET.match(plain) or _SECRET.match(plain.replace("_", "").replace("-", "")))
