"""Packages that only an extra installs: which one, and what to say where it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from regmix_pipeline.errors import MissingExtraError

EXTRAS = {
    "torch": "train",
    "attr": "lineage",
    "openlineage": "lineage",
    "prov": "lineage",
    "ray": "ray",
    "s3fs": "s3",
    "dagster_postgres": "postgres",
}
"""Module -> the extra of pyproject.toml that installs it."""


def require(module: str, where: str = "") -> None:
    """Raise `MissingExtraError` about ``where`` unless a module of an extra is installed; imports nothing."""
    if find_spec(module) is None:
        raise _missing(module, where)


def missing_extra(error: BaseException) -> MissingExtraError | None:
    """The error to show where an import failed for want of an extra; None for other errors."""
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return _missing(module) if module in EXTRAS and find_spec(module) is None else None


def _missing(module: str, where: str = "") -> MissingExtraError:
    remedy = f"pip install 'regmix-pipeline[{EXTRAS[module]}]'"
    return MissingExtraError(f"this needs the package {module}, which is not installed", where=where, remedy=remedy)
