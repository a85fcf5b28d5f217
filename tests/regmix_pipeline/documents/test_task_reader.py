"""Items of a task in each layout, and what is said of lines that are none."""

import json

import pytest

from regmix_pipeline.documents.readers import reader
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source


@pytest.fixture
def read(tmp_path):
    """Write lines and read them as a task: (requests, gold) an item."""

    def items(*records):
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (tmp_path / "items.jsonl").write_text("".join(f"{line}\n" for line in lines))
        documents = reader(Source(task="items.jsonl"), tmp_path, tmp_path, lambda line: None)()
        return [(document.metadata["requests"], document.metadata["gold"], document.text) for document in documents]

    return items


def sample(arguments, target):
    """A line of lm-evaluation-harness's --log_samples."""
    given = {f"gen_args_{n}": {f"arg_{m}": each for m, each in enumerate(pair)} for n, pair in enumerate(arguments)}
    more = {"doc_id": 0, "doc": {"q": "?"}, "resps": [[["-1.5", "False"]]], "filtered_resps": [["-1.5", "False"]]}
    return more | {"target": target, "arguments": given, "doc_hash": "x", "acc": 0.0}


def request(doc, idx, context, continuation, label):
    """A line of OLMES's requests."""
    asked = {"context": context, "continuation": continuation}
    return {
        "request_type": "loglikelihood",
        "doc": {"id": doc},
        "request": asked,
        "idx": idx,
        "task_name": "arc",
        "doc_id": doc,
        "native_id": f"n{doc}",
        "label": label,
    }


def test_prompts_with_a_continuation_or_with_choices(read):
    found = read(
        {"prompt": "2 + 2 =", "continuation": " 4"},
        {"prompt": "", "continuation": "Once"},
        {"prompt": "Is it?", "choices": [" no", " yes"], "gold": 1},
        {"prompt": "Is it so?", "choices": [" no", " yes"], "gold": 0, "continuation": " no"},
    )
    assert found == [
        ([("2 + 2 =", " 4")], 0, "2 + 2 = 4"),
        ([("", "Once")], 0, "Once"),
        ([("Is it?", " no"), ("Is it?", " yes")], 1, "Is it? yes"),
        ([("Is it so?", " no"), ("Is it so?", " yes")], 0, "Is it so? no"),
    ]


def test_samples_of_lm_evaluation_harness(read):
    found = read(
        sample([("Q: a A:", " one"), ("Q: a A:", " two")], "1"),
        # The target as text, requests as older versions wrote them, choices that stand in the prompts.
        sample([("Q: b A:", " one"), ("Q: b A:", " two")], "one"),
        sample([], "0") | {"arguments": [["Ann met Bob", " and left."], ["Ann met Cid", " and left."]]},
        sample([("The last word is", " cat")], " cat"),
        sample([("Question: 6 x 7?\nAnswer:", {"until": ["\n"]})], "42"),
    )
    assert [(requests[gold], len(requests)) for requests, gold, _ in found] == [
        (("Q: a A:", " two"), 2),
        (("Q: b A:", " one"), 2),
        (("Ann met Bob", " and left."), 2),
        (("The last word is", " cat"), 1),
        (("Question: 6 x 7?\nAnswer:", " 42"), 1),
    ]


def test_requests_of_olmes_are_put_together_by_document(read):
    found = read(
        request(0, 0, "Q0", " a", 1),
        request(0, 1, "Q0", " b", 1),
        request(1, 1, "Q1", " d", 0),
        request(1, 0, "Q1", " c", 0),
        request(1_000_001, 0, "Answer:", " c", 0),
    )
    assert found == [([("Q0", " a"), ("Q0", " b")], 1, "Q0 b"), ([("Q1", " c"), ("Q1", " d")], 0, "Q1 c")]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"text": "plain"}, "not an item of a task; the fields are text"),
        ({"prompt": "a"}, "there is no continuation"),
        ({"prompt": "a", "continuation": ""}, "the continuation is empty"),
        ({"prompt": 7, "continuation": "b"}, "the prompt is a number, not a string"),
        ({"prompt": "a", "choices": ["b"], "gold": 0}, "choices is not a list of two or more"),
        ({"prompt": "a", "choices": ["b", 3], "gold": 0}, "choice 1: the continuation is a number"),
        ({"prompt": "a", "choices": ["b", "c"], "gold": 2}, "gold is 2, not the number of one of 2 choices"),
        ({"prompt": "a", "choices": ["b", "c"], "gold": True}, "gold is True"),
        ({"prompt": "a", "choices": ["b", "c"], "gold": 0, "continuation": "c"}, "continuation is another text"),
        (sample([("Q", " a"), ("Q", " b")], "maybe"), "the right choice, 'maybe', is neither"),
        (sample([("Q", " a"), ("Q", " b")], "5"), "gold is 5, and there are 2 choices"),
        (sample([], "5") | {"arguments": "x"}, "arguments are not prompts with continuations"),
        ({"request": {"context": "a"}, "doc_id": 3, "label": 2}, "request has no continuation"),
        ({"request": {"continuation": "a"}, "doc_id": 3}, "request has no context"),
        ({"request": {"context": "a", "continuation": "b"}}, "a request without a doc_id"),
        ("[1]", "the line holds a list, not an object"),
    ],
)
def test_what_is_no_item_is_named_by_its_line(read, record, problem):
    with pytest.raises(DocumentError) as caught:
        read({"prompt": "a", "continuation": "b"}, record)
    assert caught.value.where.endswith("items.jsonl:2")
    assert problem in caught.value.problem
    assert caught.value.remedy
