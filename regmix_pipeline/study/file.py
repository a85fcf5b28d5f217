"""The study file: YAML read strictly, every mistake named by file, line and field."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from regmix_pipeline.errors import StudyError
from regmix_pipeline.study.settings.base import LARGEST, place_of, problem_of
from regmix_pipeline.study.study import Study

DEMO = "demo.yaml"
"""Name of the demo's study file."""
LARGEST_FILE = 16 << 20
"""Bytes beyond which a file is not one that a person wrote."""
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""017 is fifteen to YAML, and 1:30 ninety; whoever writes 0x1F or 0b11 knows."""


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the plain loader silently keeps the last, and says where a value is
    wrong."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node. Raises StudyError for one such as 2026-99-99, of which YAML cannot make a date."""
        try:
            value = super().construct_object(node, deep)
        except ValueError as error:
            problem = (
                "the number has too many digits" if "int_max_str_digits" in str(error) else f"not a value: {error}"
            )
            raise self._wrong(node, problem) from error
        if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
            raise self._wrong(node, f"the number is not one up to {LARGEST:,}")
        if isinstance(value, str) and _NOT_TEXT.search(value):
            raise self._wrong(node, f"the text {value[:40]!r} has a character that no file can hold")
        if type(value) in (int, float) and isinstance(node, yaml.ScalarNode) and _OTHER_BASE.fullmatch(node.value):
            raise self._wrong(node, f"YAML reads {node.value} as {value}, in another base than ten")
        return value

    def _wrong(self, node: yaml.Node, problem: str) -> StudyError:
        where = f"{self.name}:{node.start_mark.line + 1}"
        return StudyError(problem, where=where, remedy="write another value, or put it in quotes if it is text")


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == "tag:yaml.org,2002:merge":
            # Merges of merges double with each level, until nothing holds them.
            raise StudyError("`<<` is not read", where=f"{loader.name}:{line}", remedy="write the fields out")
        key = loader.construct_object(key_node)
        if not isinstance(key, str):
            scalar = isinstance(key_node, yaml.ScalarNode)
            shown = repr(key_node.value) if scalar else "with brackets or braces"
            raise StudyError(
                f"the field {shown} is not a name",
                where=f"{loader.name}:{line}",
                remedy="put it in quotes" if scalar else "write a name before the colon",
            )
        if key in seen:
            raise StudyError(
                f"{key!r} is given twice, first in line {seen[key]}",
                where=f"{loader.name}:{line}",
                remedy="rename or remove one of them",
            )
        seen[key] = line
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)


def load_study(path: Path | str, changes: Sequence[str] = ()) -> Study:
    """Read and check a study file.

    Args:
        path: the file.
        changes: fields to read otherwise than they are written, ``place.of.field=value`` with the value in YAML;
            ``place.of.field=`` leaves the field out.

    Raises:
        StudyError: naming file, line and field, and what to do.
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder, not a study file" if path.is_dir() else "no such study file"
        raise StudyError(problem, where=str(path), remedy="name one with --study; `regmix run --demo` writes one")
    text = decoded(path, LARGEST_FILE, "a study file", "give a YAML file")
    document, raw = parsed_yaml(text, path)
    if not isinstance(raw, dict):
        raise StudyError("the file holds no settings", where=str(path), remedy="see studies/demo.yaml for an example")
    for change in changes:
        _changed(raw, change)
    try:
        return Study.model_validate(raw)
    except RecursionError as error:
        raise StudyError("an alias holds itself", where=str(path), remedy="write the value out") from error
    except ValidationError as error:
        raise StudyError(_listed(error, path, document), where=str(path), remedy=_REMEDY) from error


_REMEDY = "docs/study-file.md lists every field; `regmix schema` prints a JSON schema for editors"


def _changed(raw: dict[str, Any], change: str) -> None:
    """Put one change into a study file's content."""
    place, sign, text = change.partition("=")
    *parents, field = place.strip().split(".")
    wrong = StudyError(
        "not a change of the study file", where=change, remedy="give FIELD=VALUE, such as domains.code.cap=0.3"
    )
    if not sign or not all([*parents, field]):
        raise wrong
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise wrong
    if not text.strip():
        raw.pop(field, None)
        return
    try:
        raw[field] = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise wrong from error


def parsed_yaml(text: str, path: Path) -> tuple[yaml.Node | None, Any]:
    """The YAML's nodes, which know their lines, and its content."""
    try:
        loader = _Loader(text)
        loader.name = str(path)
        try:
            document = loader.get_single_node()
            return document, loader.construct_document(document) if document else None
        finally:
            loader.dispose()
    except RecursionError as error:
        raise StudyError("nested too deeply", where=str(path), remedy=_REMEDY) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise StudyError(
            f"not valid YAML: a control character, {error.character!r}", where=f"{path}:{line}", remedy="remove it"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise StudyError(f"not valid YAML: {error.problem}", where=where, remedy="correct the line") from error


def decoded(path: Path, largest: int, what: str, remedy: str) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        StudyError: the file cannot be read, has more bytes than ``largest`` and so is not ``what``, or is not UTF-8.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= largest else None
    except OSError as error:
        raise StudyError(f"cannot be read: {error.strerror}", where=str(path), remedy=remedy) from error
    if content is None:
        raise StudyError(f"is too large for {what}", where=str(path), remedy=remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StudyError("not UTF-8", where=f"{path}:{line}", remedy="save the file as UTF-8") from error


def _listed(error: ValidationError, path: Path, document: yaml.Node | None) -> str:
    lines = []
    for item in error.errors():
        place = place_of(item)
        field = ".".join(str(part) for part in place) or "study"
        lines.append(f"\n  {path}:{_line_of(document, place)}: {field}: {problem_of(item, Study)}")
    return f"{len(lines)} mistake{'s' if len(lines) > 1 else ''} in the study file:" + "".join(lines)


def _line_of(node: yaml.Node | None, location: tuple[Any, ...]) -> int:
    """The line where the named field stands, or where its nearest parent does."""
    line = node.start_mark.line + 1 if node else 1
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            line, node = node.value[part].start_mark.line + 1, node.value[part]
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        match = next((pair for pair in node.value if pair[0].value == str(part)), None)
        if match is None:
            continue  # pydantic puts names of union members in between
        line, node = match[0].start_mark.line + 1, match[1]
    return line


def default_study_file() -> Path:
    """The study the pipeline runs: $REGMIX_STUDY, or the demo of a checkout or of `regmix run --demo`."""
    if "REGMIX_STUDY" in os.environ:
        return Path(os.environ["REGMIX_STUDY"])
    checkout = Path("studies", DEMO)
    return checkout if checkout.exists() or not Path(DEMO).exists() else Path(DEMO)
