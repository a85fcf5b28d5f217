"""The study file's reference page, written from the settings themselves: `python -m regmix_pipeline.reference`.

The other generated pages come from the same command: `python -m regmix_pipeline.reference cli`, or `ledger`.
"""

from __future__ import annotations

import sys
from typing import Any

from regmix_pipeline.study.study import Study

_HEAD = """# The study file

Every field of the YAML that a study is. Generated from the settings by `python -m regmix_pipeline.reference`;
`regmix schema` prints the same as a JSON schema, which editors use for completion:

```yaml
# yaml-language-server: $schema=study.schema.json
```
"""


def reference_page() -> str:
    """The reference as Markdown: a section per settings class, a row per field."""
    schema = Study.model_json_schema()
    parts = schema["$defs"]
    sections = [_section("Study", schema, "the file itself", parts)]
    sections += [_section(name, part, "", parts) for name, part in parts.items() if "properties" in part]
    return "\n".join([_HEAD, *sections])


def _section(name: str, schema: dict[str, Any], note: str, parts: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    lines = [f"## {name}{f' ({note})' if note else ''}", "", " ".join(schema.get("description", "").split()), ""]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field, spec in schema["properties"].items():
        default = "required" if field in required else _default(spec, parts)
        meaning = " ".join(spec.get("description", "").split()).replace("|", "\\|")
        lines.append(f"| `{field}` | {_kind(spec)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(spec: dict[str, Any], parts: dict[str, Any]) -> str:
    """The default as code; of a part that is as its own section says, a word."""
    part = parts.get(str(spec.get("$ref", "")).rsplit("/", 1)[-1], {})
    own = {field: each["default"] for field, each in part.get("properties", {}).items() if "default" in each}
    if "default" not in spec and not part:
        return "empty"
    if "default" not in spec or (own and all(spec["default"][field] == value for field, value in own.items())):
        return "see there"
    return f"`{spec['default']}`" if spec["default"] != "" else '`""`'


def _kind(spec: dict[str, Any]) -> str:
    if "$ref" in spec:
        name = spec["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in spec or "oneOf" in spec:
        return " or ".join(_kind(part) for part in spec.get("anyOf", spec.get("oneOf", [])))
    if "enum" in spec:
        return " or ".join(f"`{value}`" for value in spec["enum"])
    if spec.get("type") == "array":
        return f"list of {_kind(spec.get('items', {}))}"
    if spec.get("type") == "object" and isinstance(spec.get("additionalProperties"), dict):
        return f"name -> {_kind(spec['additionalProperties'])}"
    kind = str(spec.get("type", "any"))
    return {"null": "none", "integer": "whole number"}.get(kind, kind)


def page_of(name: str) -> str:
    """A generated page of docs/: ``study-file``, ``cli`` or ``ledger``."""
    if name == "cli":
        from regmix_pipeline.cli.reference import command_page

        return command_page()
    if name == "ledger":
        from regmix_pipeline.engine.ledger_page import ledger_page

        return ledger_page()
    return reference_page()


if __name__ == "__main__":
    sys.stdout.write(page_of(*sys.argv[1:] or ["study-file"]))
