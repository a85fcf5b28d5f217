"""Reader of a task's items: a prompt and its right continuation, with further choices where there are any.

Three layouts are read, told apart by their fields, an item a line:

- ``prompt`` and ``continuation``, or ``prompt``, ``choices`` and ``gold``, the number of the right one from 0;
- lm-evaluation-harness's ``--log_samples`` (``arguments`` and ``target``);
- requests of OLMES and of its forerunners (``request``, ``doc_id`` and ``label``), a line a choice.

The text of an item is its prompt and right continuation, as they are trained on if they are; what else is known of it
is in the document's metadata: ``requests``, a (prompt, continuation) a choice, and ``gold``.
"""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NoReturn

from datatrove.data import Document

from regmix_pipeline.documents.readers.base import kind_of_value, listed
from regmix_pipeline.documents.readers.jsonl import StrictJsonlReader
from regmix_pipeline.errors import DocumentError

UNCONDITIONED = 1_000_000
"""Requests of OLMES's forerunners with this document id or a higher one ask for the choices after an empty question, to
divide by; they are no items."""
Request = tuple[str, str]
"""Prompt and continuation."""
Refuse = Callable[[str, str], NoReturn]
"""Raises an error about a line: what is wrong, and the remedy."""
_EXAMPLE = 'for instance {"prompt": "2 + 2 =", "continuation": " 4"}'


class StrictTaskReader(StrictJsonlReader):
    """JSON lines of items, plain or compressed."""

    name = "task reader"

    def read_file(self, filepath: str) -> Iterator[Document]:
        """Yield the items of one file; raise DocumentError with ``file:line``."""
        lines = super().read_file(filepath)
        for key, group in groupby(lines, key=lambda line: _item_of(line.metadata)):
            if key is None:
                for line in group:
                    yield self._item([line], _of_line)
            elif not (isinstance(key[1], int) and key[1] >= UNCONDITIONED):
                yield self._item(list(group), _of_requests)

    def document(self, record: dict[str, Any], path: str, place: str) -> Document:
        """A line as it is: its record in the metadata, its place as the id."""
        return Document(text="", id=f"{self.files.address(path)}:{place}", metadata=record)

    def _item(self, lines: Sequence[Document], read: Callable[[Any, Refuse], tuple[list[Request], int]]) -> Document:
        where = lines[0].id

        def refuse(problem: str, remedy: str) -> NoReturn:
            raise DocumentError(problem, where=where, remedy=remedy)

        records = [line.metadata for line in lines]
        requests, gold = read(records, refuse)
        for number, (prompt, continuation) in enumerate(requests):
            which = f"choice {number}: " if len(requests) > 1 else ""
            for name, text in (("prompt", prompt), ("continuation", continuation)):
                if not isinstance(text, str):
                    refuse(f"{which}the {name} is {kind_of_value(text)}, not a string", f"give a string, {_EXAMPLE}")
            if not continuation:
                refuse(f"{which}the continuation is empty", "give what is to be predicted, or leave the item out")
        if not 0 <= gold < len(requests):
            refuse(f"gold is {gold}, and there are {len(requests)} choices", "count the choices from 0")
        prompt, continuation = requests[gold]
        given = records[0].get(self.id_key)
        return Document(
            text=prompt + continuation,
            id=str(given) if given is not None else where,
            metadata={"requests": requests, "gold": gold, "where": where},
        )


def _item_of(record: Mapping[str, Any]) -> Any:
    """What neighbouring lines of one item share: task and document of a request; nothing of lines that are items."""
    return (record.get("task_name"), record.get("doc_id")) if "request" in record else None


def _of_line(records: Sequence[Mapping[str, Any]], refuse: Refuse) -> tuple[list[Request], int]:
    (record,) = records
    if "prompt" in record:
        return _of_prompt(record, refuse)
    if "arguments" in record and "target" in record:
        return _of_sample(record, refuse)
    refuse(
        f"not an item of a task; the fields are {listed(record)}",
        f"give prompt and continuation, {_EXAMPLE}, or a dump of lm-evaluation-harness or OLMES",
    )


def _of_prompt(record: Mapping[str, Any], refuse: Refuse) -> tuple[list[Request], int]:
    prompt, continuation = record["prompt"], record.get("continuation")
    choices, gold = record.get("choices"), record.get("gold")
    if choices is None:
        if continuation is None:
            refuse("there is no continuation", f"give continuation, {_EXAMPLE}, or choices and gold")
        return [(prompt, continuation)], 0
    if not isinstance(choices, list) or len(choices) < 2:
        refuse("choices is not a list of two or more", 'give for instance "choices": [" yes", " no"], "gold": 0')
    if type(gold) is not int or not 0 <= gold < len(choices):
        refuse(f"gold is {gold!r}, not the number of one of {len(choices)} choices", "count the choices from 0")
    if continuation is not None and continuation != choices[gold]:
        refuse("continuation is another text than the choice that gold names", "leave continuation out, or correct it")
    return [(prompt, choice) for choice in choices], gold


def _of_sample(record: Mapping[str, Any], refuse: Refuse) -> tuple[list[Request], int]:
    """A sample that lm-evaluation-harness logged: the arguments of each of its requests."""
    arguments, target = record["arguments"], record["target"]
    given = list(arguments.values()) if isinstance(arguments, dict) else arguments
    try:
        pairs = [tuple(each.values()) if isinstance(each, dict) else tuple(each) for each in given]
        requests = [(pair[0], pair[1]) for pair in pairs]
    except (TypeError, IndexError):
        requests = []
    if not requests:
        refuse("arguments are not prompts with continuations", "log the samples again with --log_samples")
    prompt, asked = requests[0]
    if not isinstance(asked, str):
        # A task whose answer is generated: what is asked for are options, and the target is the answer.
        text = str(target)
        return [(prompt, text if not prompt or prompt[-1:].isspace() or text[:1].isspace() else f" {text}")], 0
    if len(requests) == 1:
        return requests, 0
    texts = [continuation for _, continuation in requests]
    return requests, _gold(target, texts, refuse)


def _of_requests(records: Sequence[Mapping[str, Any]], refuse: Refuse) -> tuple[list[Request], int]:
    """The requests of an item: OLMES writes a line for each choice."""
    if "doc_id" not in records[0]:
        refuse(
            "a request without a doc_id, which says whose choice it is", "write the requests again with their doc_id"
        )
    records = sorted(records, key=lambda record: record.get("idx") or 0)
    requests = [record["request"] for record in records]
    if not all(isinstance(each, dict) and "context" in each for each in requests):
        refuse("request has no context", "write the requests again with their context and continuation")
    label = records[0].get("label")
    if any("continuation" not in each for each in requests):
        if not isinstance(label, str):
            refuse("request has no continuation, and label is no text", "leave tasks without a right answer out")
        prompt = requests[0]["context"]
        return [(prompt, label if prompt[-1:].isspace() or label[:1].isspace() else f" {label}")], 0
    pairs = [(each["context"], each["continuation"]) for each in requests]
    if len(pairs) == 1:
        return pairs, 0
    return pairs, _gold(label, [continuation for _, continuation in pairs], refuse)


def _gold(target: Any, texts: Sequence[Any], refuse: Refuse) -> int:
    """Which of the choices a target means: its number, or its text."""
    said = str(target).strip()
    same = [number for number, text in enumerate(texts) if isinstance(text, str) and text.strip() == said]
    if len(same) == 1:
        return same[0]
    if said.lstrip("-").isdigit():
        return int(said)
    refuse(
        f"the right choice, {said[:40]!r}, is neither the number nor the text of one of {len(texts)} choices",
        "give the items as prompt, choices and gold",
    )
