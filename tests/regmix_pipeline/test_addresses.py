"""Addresses on record let nobody in, and stay apart where they name different things."""

import pytest

from regmix_pipeline.addresses import has_credentials, text_without_credentials, without_credentials
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source

SIGNED = {
    "http://alice:PASS@127.0.0.1:8765/code.jsonl?X-Amz-Signature=SIG": "http://127.0.0.1:8765/code.jsonl",
    "https://ghp_TOKEN@host/x.jsonl": "https://host/x.jsonl",
    "https://b.s3.amazonaws.com/k?AWSAccessKeyId=A&Signature=B&Expires=9&versionId=3": (
        "https://b.s3.amazonaws.com/k?versionId=3"
    ),
    "https://storage.googleapis.com/b/k?X-Goog-Credential=a&X-Goog-Signature=b": "https://storage.googleapis.com/b/k",
    "https://a.blob.core.windows.net/c/k?sv=2024&st=1&se=2&sr=b&sp=r&sig=S": "https://a.blob.core.windows.net/c/k",
    "https://h/f?access_token=1&hf_token=2&api-key=3&id=7": "https://h/f?id=7",
    "https://h/f?key=AIzaSyExample&alt=media": "https://h/f?alt=media",
    "simplecache::https://u:p@h/x.jsonl": "simplecache::https://h/x.jsonl",
    "zip://a.jsonl::https://u:p@h/y.zip?token=1": "zip://a.jsonl::https://h/y.zip",
    "sftp://bob:PASS@h/x": "sftp://bob@h/x",
    "s3://KEY:SECRET@bucket/x": "s3://bucket/x",
}
PLAIN = [
    "s3://bucket/[a-c]*/books.jsonl",
    "abfs://container@account.dfs.core.windows.net/books/*.jsonl",
    "https://h/get?key=books/1.jsonl&st=2",
    "data/who@where/*.jsonl.gz",
    "sftp://bob@h/x",
]


@pytest.mark.parametrize(("address", "expected"), SIGNED.items())
def test_what_lets_somebody_in_is_taken_out(address, expected):
    assert without_credentials(address) == expected
    assert has_credentials(address)
    assert Source(jsonl=address).label() == f"jsonl {expected}"
    error = DocumentError(f"404 for {address}", where=f"jsonl: {address}", remedy=f"see '{address}'")
    assert str(error) == f"jsonl: {expected}: 404 for {expected}\n  remedy: see '{expected}'"


@pytest.mark.parametrize("address", PLAIN)
def test_what_names_a_thing_stays(address):
    assert without_credentials(address) == address == text_without_credentials(address)


def test_a_rotated_signature_is_the_same_place():
    signed = "https://h/books.jsonl?X-Amz-Date={0}&X-Amz-Signature={0}&part=2"
    assert len({without_credentials(signed.format(number)) for number in range(3)}) == 1
