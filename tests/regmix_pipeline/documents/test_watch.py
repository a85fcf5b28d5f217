"""Folders under a watched address: on a local disk and on any fsspec address."""

import fsspec
import pytest
from pydantic import ValidationError

from regmix_pipeline.documents.observe import observe, version_by_listing
from regmix_pipeline.documents.watch import scan
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.watch import WatchSettings

LINE = b'{"text": "a line of text"}\n'


def seen(watch, base, known=(), taken=(), settle_seconds=0.0):
    return scan(watch, base, known, taken, base / "clock.json", settle_seconds)


def test_folders_are_domains_with_sources_of_their_own(tmp_path):
    for name in ("b", "a"):
        (tmp_path / "in [box]" / name).mkdir(parents=True)
        (tmp_path / "in [box]" / name / "x.jsonl").write_bytes(LINE)
    watch = WatchSettings(address="in [box]", source=Source(jsonl="*.jsonl", text_field="text"))
    assert seen(watch, tmp_path).domains == ("a", "b")
    observed = observe(watch.source_of("a"), tmp_path, tmp_path / "data")
    assert [file.path for file in observed.files] == [str(tmp_path / "in [box]" / "a" / "x.jsonl")]


def test_any_fsspec_address_can_be_watched(tmp_path):
    store = fsspec.filesystem("memory")
    store.pipe("/watched/poems/x.jsonl", LINE)
    store.pipe("/watched/Bad Name/x.jsonl", LINE)
    watch = WatchSettings(address="memory://watched", source=Source(jsonl="*.jsonl"))
    found = seen(watch, tmp_path)
    assert found.domains == ("poems",)
    assert "'bad_name'" in found.refused["Bad Name"]
    source = watch.source_of("poems")
    version = observe(source, tmp_path, tmp_path / "data").version
    assert version_by_listing(source, tmp_path, tmp_path / "data") == version
    store.pipe("/watched/poems/x.jsonl", LINE + LINE)
    assert version_by_listing(source, tmp_path, tmp_path / "data") != version
    store.rm("/watched/poems", recursive=True)
    assert seen(watch, tmp_path, known=["poems"], settle_seconds=100).domains == ("poems",)
    assert seen(watch, tmp_path, known=["poems"]).domains == ()


def test_an_address_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DocumentError, match="the watched folder does not exist"):
        seen(WatchSettings(address="nowhere", source=Source(jsonl="*.jsonl")), tmp_path)


@pytest.mark.parametrize("pattern", ["/data/*.jsonl", "../*.jsonl", "s3://bucket/*.jsonl"])
def test_patterns_stay_inside_the_folder(pattern):
    with pytest.raises(ValidationError, match="leaves the watched folder"):
        WatchSettings(address="inbox", source=Source(jsonl=pattern))
