"""Every number of the study file, found in `regmix schema`, spelled as something else: the command names it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.errors import StudyError
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

STUDY: dict[str, Any] = {
    "name": "numbers",
    "domains": {"a": {"source": {"jsonl": "a.jsonl"}}, "b": {"source": {"jsonl": "b.jsonl"}}},
    "targets": {"a": {"weight": 1}, "key": {"source": {"jsonl": "c.jsonl"}}},
    "tokenizer": {"train": {"vocab_size": 400}},
}
NEEDED = {
    "domains.key": {"source": {"jsonl": "d.jsonl"}},
    "watch": {"address": "x/*", "source": {"jsonl": "*.jsonl"}},
    "imports": [{"mixtures": "m.csv", "losses": "l.csv"}],
    "search": {"groups": [{"domains": ["a"]}], "guardrails": [{}]},
    "families": {"key": {"targets": ["a"]}},
    "alternatives": {"key": {}},
    "changes": [{}],
    "strategies": {"target": {}},
    "phases": [{"name": "first", "tokens": 10, "mixture": {"a": 1}}, {"name": "last", "tokens": 10}],
}
"""What else a section needs, so that the number is what is wrong."""


def numbers(schema: dict[str, Any], whole: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Places of the numbers that a JSON schema allows: fields, `key` for any key, `0` for an item of a list."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    for option in schema.get("anyOf", ()):
        yield from numbers(option, whole, place)
    if schema.get("type") in ("integer", "number"):
        yield place
    for name, inner in schema.get("properties", {}).items():
        yield from numbers(inner, whole, (*place, name))
    for name, inside in (("key", "additionalProperties"), ("0", "items")):
        if isinstance(schema.get(inside), dict):
            yield from numbers(schema[inside], whole, (*place, name))


def all_numbers() -> list[tuple[str, ...]]:
    schema = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    found = list(numbers(schema, schema))
    for name, model in (("model", ModelSettings), ("training", TrainingSettings)):
        inner = model.model_json_schema()
        found += [("proxies", name, *place) for place in numbers(inner, inner)]
    return list(dict.fromkeys(found))


def written(place: tuple[str, ...], raw: str) -> str:
    """The study with one number more, as text."""
    content = copy.deepcopy(STUDY)
    for name, needed in NEEDED.items():
        if ".".join(place).startswith(name):
            parent = content if "." not in name else content[name.split(".")[0]]
            parent[name.split(".")[-1]] = copy.deepcopy(needed)
    part: Any = content
    for field in place[:-1]:
        part = part[0] if field == "0" else part.setdefault(field, [{}] if field in ("groups", "sizes") else {})
    part[place[-1]] = "RAW"
    return yaml.safe_dump(content, sort_keys=False).replace("RAW", raw)


NO_NUMBERS = [
    *(".inf", "-.inf", ".nan", "1e400", "1.0e+308", "-1.0e+308", "9223372036854775808", "9" * 5000),
    *("yes", "off", "true", "017", "0o17", "1:30", "190:20:30.15", "2026-01-01", "2026-01-01T00:00:00Z"),
    *("x", "''", "３", "٣", "5 5", "[1]", "{a: 1}", '"\\0"', '"\\ud800"', "!!binary 'AA=='", "!!float x"),
    *("!!python/object:os.system {}", "!!set {a}", "!!omap [a: 1]", "*nowhere", "&a [*a]", "!unknown 5"),
]


@pytest.mark.parametrize("raw", NO_NUMBERS, ids=lambda raw: raw[:20].encode("unicode_escape").decode())
def test_what_is_no_number_is_named_by_file_line_and_remedy(raw, tmp_path):
    path = tmp_path / "study.yaml"
    # In turn: every field meets several values, every value many fields.
    for place in all_numbers()[NO_NUMBERS.index(raw) % 8 :: 8]:
        text = written(place, raw)
        path.write_text(text, encoding="utf-8")
        answer = CliRunner().invoke(app, ["status", "--study", str(path), "--home", str(tmp_path / "home")])
        said = answer.stderr
        assert answer.exit_code == 1, (place, raw, answer.output)
        line = next(number for number, each in enumerate(text.splitlines(), start=1) if raw[:9] in each)
        lines = [int(each) for each in re.findall(rf"{re.escape(str(path))}:(\d+)", said)]
        assert line in lines or place[-1] in said, (place, raw, said)
        assert "\n  remedy: " in said
        assert "Traceback" not in said
    assert not (tmp_path / "home").exists()


def test_numbers_are_found():
    found = all_numbers()
    assert len(found) > 100
    assert ("proxies", "evaluation", "trajectory_points") in found


@pytest.mark.parametrize(
    ("raw", "read"), [("1_000", 1000), ("0x1F", 31), ("+5", 5), ("'5'", 5), ("&x 5", 5), ("5.0", 5)]
)
def test_other_ways_to_write_a_number_are_read(raw, read, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(written(("seed",), raw))
    assert load_study(path).seed == read


@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_windows_line_ends_and_byte_order_mark_change_nothing(ends, mark, tmp_path):
    path = tmp_path / "study.yaml"
    text = written(("seed",), "5")
    path.write_text(text)
    plain = load_study(path)
    path.write_bytes(mark + text.encode().replace(b"\n", ends))
    assert load_study(path) == plain


def test_an_alias_is_read_and_a_merge_key_is_not(tmp_path):
    path = tmp_path / "study.yaml"
    text = written(("seed",), "5").replace("  a:\n    source", "  a: &a\n    source", 1)
    own = "  b:\n    source:\n      jsonl: b.jsonl\n"
    path.write_text(text.replace(own, "  b: *a\n"))
    assert load_study(path).domains["b"] == load_study(path).domains["a"]
    path.write_text(text.replace(own, "  b: {<<: *a, floor: 0.1}\n"))
    with pytest.raises(StudyError, match=r"study\.yaml:6: `<<` is not read"):
        load_study(path)
