from __future__ import annotations

import pytest
from pydantic import ValidationError

from regmix_pipeline.study.settings.documents import Source, check_name


@pytest.mark.parametrize("name", ["pubmed", "code_python", "0", "a" * 63])
def test_safe_names_pass(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "a/b",
        ".",
        "_x",
        "Books",
        "two words",
        "a'b",
        'a"b',
        "a; DROP TABLE losses",
        "a" * 64,
        "bücher",
        "a\n",
    ],
)
def test_unsafe_names_are_refused_with_a_safe_one(name):
    with pytest.raises(ValueError, match="is not a safe name") as caught:
        check_name(name)
    suggestion = str(caught.value).rsplit("'", 2)[1]
    assert check_name(suggestion) == suggestion


@pytest.mark.parametrize("given", [{}, {"jsonl": "a.jsonl", "corpus": "pubmed"}, {"jsonl": "a", "parquet": "b"}])
def test_exactly_one_kind(given):
    with pytest.raises(ValidationError, match="exactly one of corpus, jsonl, parquet"):
        Source(**given)


def test_unknown_corpus_names_a_near_one():
    with pytest.raises(ValidationError, match="did you mean 'pubmed'"):
        Source(corpus="pubmeds")
    with pytest.raises(ValidationError, match=r"the built-in corpora are .*encyclopedia"):
        Source(corpus="zzz")


@pytest.mark.parametrize("given", [{"jsonl": " "}, {"jsonl": "a", "max_bytes": 0}, {"jsonl": "a", "texts": "b"}])
def test_malformed_sources_are_refused(given):
    with pytest.raises(ValidationError):
        Source(**given)


def test_label_names_kind_address_and_limits():
    source = Source(jsonl="data/*.jsonl", max_bytes=4_000_000, max_documents=1000)
    assert source.label() == "jsonl data/*.jsonl, first 1,000 documents, first 4 MB"
    assert Source(corpus="pubmed").kind == "corpus"
    assert Source(corpus="pubmed").address == "pubmed"
