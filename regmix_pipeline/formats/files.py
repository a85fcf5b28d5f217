"""A mixture in a format: the texts of its files, and of the sampling plan beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from regmix_pipeline.files import json_text, written_atomically
from regmix_pipeline.formats.data import DomainData
from regmix_pipeline.formats.export import Export, counts_of
from regmix_pipeline.formats.format import Format
from regmix_pipeline.formats.plan import Drawn, by_domain

PLAN = ".plan.json"


def main_file(folder: Path, mixture: str, name: str, form: Format) -> Path:
    """Where a mixture's main file goes: named so that Python can import those that are modules."""
    return folder / f"{mixture}_{name.replace('-', '_')}{form.suffix}"


def texts_of(export: Export, name: str, form: Format, main: Path, plan: Sequence[Drawn]) -> dict[Path, str]:
    """Path -> text: the main file first, what the format writes beside it, and the plan where there is one."""
    made = form.write(replace(export, main=main.name))
    texts = {main if not ending else main.with_name(main.stem + ending): text for ending, text in made.items()}
    if plan:
        content = {
            "about": export.about() | {"format": name, "files": [path.name for path in texts]},
            "budget": export.budget,
            "max_epochs": export.max_epochs,
            **({"max_epochs_of": dict(export.own_epochs)} if export.own_epochs else {}),
            **({"tokens_before": export.tokens_before} if export.earlier else {}),
            "counts": counts_of(export),
            "domains": by_domain(plan, export.data),
            "files": [row.as_json() for row in plan],
        }
        texts[main.with_name(main.stem + PLAN)] = json_text(content)
    return texts


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write the files, each complete or absent."""
    for path, text in texts.items():
        with written_atomically(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def counted(data: Mapping[str, DomainData], form: Format, token_type: str) -> dict[str, DomainData]:
    """The same with the files behind each address counted one by one, where they are on this machine and the format
    can say what they hold."""
    if form.count is None:
        return dict(data)
    found = {domain: form.count(each.address, token_type) for domain, each in data.items()}
    return {
        domain: replace(each, counted=found[domain], available=sum(file.tokens or 0 for file in found[domain]))
        if found[domain]
        else each
        for domain, each in data.items()
    }
