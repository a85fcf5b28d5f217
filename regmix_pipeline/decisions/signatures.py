"""Signatures by SSH keys that people hold outside the home, made and checked by ``ssh-keygen -Y``."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from regmix_pipeline.errors import LedgerError

NAMESPACE = "regmix"
"""What the signatures are for, so that one that was made for something else does not pass."""
SIGNATURE = ".sig"
"""Ending of a signature's file, after the name of what it signs."""


@dataclass(frozen=True)
class Checked:
    """Whether a signature holds: who made it, as the file of allowed signers calls the key; what is wrong, or ""."""

    by: str
    problem: str


def signed(content: bytes, key: Path) -> str:
    """The signature of bytes by an SSH key, private or (with an agent) public.

    Raises:
        LedgerError: there is no ssh-keygen or no such key, or it refuses.
    """
    if not key.is_file():
        raise LedgerError("there is no such key", where=f"--sign {key}", remedy="name the file of an SSH key")
    with TemporaryDirectory(prefix="regmix-") as folder:
        file = Path(folder) / "content"
        file.write_bytes(content)
        done = _ssh_keygen("sign", "-f", str(key), "-n", NAMESPACE, str(file))
        signature = file.with_name(file.name + SIGNATURE)
        if done.returncode or not signature.is_file():
            raise LedgerError(
                f"cannot be signed: {_said(done)}", where=f"--sign {key}", remedy="try ssh-keygen -Y sign with this key"
            )
        return signature.read_text(encoding="utf-8")


def checked(content: bytes, signature: Path, allowed: Path) -> Checked:
    """Whether one of the allowed signers made a signature of these bytes.

    Args:
        content: what was signed.
        signature: its signature's file.
        allowed: a file of allowed signers; see ALLOWED SIGNERS in ssh-keygen(1).

    Raises:
        LedgerError: there is no ssh-keygen, or no such file of allowed signers.
    """
    if not allowed.is_file():
        raise LedgerError(
            "there is no such file of allowed signers",
            where=str(allowed),
            remedy="one line per person: NAME KEYTYPE KEY",
        )
    found = _ssh_keygen("find-principals", "-s", str(signature), "-f", str(allowed))
    people = found.stdout.decode(errors="replace").split("\n")[0].strip()
    if found.returncode or not people:
        return Checked("", "no allowed signer made this signature")
    name = people.split(",")[0]
    done = _ssh_keygen("verify", "-f", str(allowed), "-I", name, "-n", NAMESPACE, "-s", str(signature), content=content)
    return Checked(name, f"the signature does not hold: {_said(done)}" if done.returncode else "")


def _ssh_keygen(what: str, *options: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise LedgerError("there is no ssh-keygen", where="PATH", remedy="install OpenSSH's client")
    return subprocess.run([program, "-Y", what, *options], input=content, capture_output=True, check=False)


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stderr or done.stdout).decode(errors="replace").strip().replace("\n", "; ")
