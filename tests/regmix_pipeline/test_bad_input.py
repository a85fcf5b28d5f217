"""Bad input ends in a clear error before any training starts, with nothing half-written left behind."""

import gzip
import json

import pytest

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.stages import up_to

BEFORE_TRAINING = up_to(MIXTURES)


def line_of(**fields):
    return json.dumps(fields) + "\n"


def replace_text(name, content):
    def damage(study_file, change_study):
        path = study_file.parent / "text" / f"{name}.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def insert_line(name, number, line):
    def damage(study_file, change_study):
        path = study_file.parent / "text" / f"{name}.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        lines.insert(number - 1, line)
        path.write_bytes(b"".join(lines))

    return damage


def remove(name):
    def damage(study_file, change_study):
        (study_file.parent / "text" / f"{name}.jsonl").unlink()

    return damage


def truncated_gzip(study_file, change_study):
    folder = study_file.parent / "text"
    packed = gzip.compress((folder / "code.jsonl").read_bytes())
    (folder / "code.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    change_study({"domains.code.source": {"jsonl": "text/code.jsonl.gz"}})


def settings(**changes):
    def damage(study_file, change_study):
        change_study({place.replace("__", "."): value for place, value in changes.items()})

    return damage


CASES = {
    "missing file": (remove("licences"), r"licences\.jsonl", "no file"),
    "malformed JSON line": (insert_line("code", 3, b'{"text": "half'), r"code\.jsonl:3", "JSON"),
    "missing text field": (insert_line("code", 2, line_of(body="x").encode()), r"code\.jsonl:2", "text"),
    "text is not a string": (insert_line("code", 2, line_of(text=7).encode()), r"code\.jsonl:2", "text"),
    "non-UTF-8 bytes": (insert_line("code", 4, b'{"text": "caf\xe9"}\n'), r"code\.jsonl:4", "UTF-8"),
    "truncated gzip": (truncated_gzip, r"code\.jsonl\.gz", "(?i)truncated|end"),
    "empty domain": (replace_text("licences", "\n"), "licences", "(?i)no documents|empty"),
    "less than a window": (replace_text("licences", line_of(text="Short licence. " * 4) * 1), "licences", "window"),
    "target without text": (replace_text("science", line_of(text="")), "science", "(?i)no documents|empty"),
    "infeasible caps": (settings(limits__max_epochs=0.1), "limits", "caps sum to"),
    "floor above cap": (settings(domains__code__floor=0.5, domains__code__cap=0.2), "code", "floor"),
    "unknown tokenizer": (settings(tokenizer={"file": "no/tokenizer.json"}), r"no/tokenizer\.json", "tokenizer"),
    "tokenizer that is not one": (settings(tokenizer={"file": "tiny.yaml"}), r"tiny\.yaml", "not a tokenizer"),
    "unknown domain for the tokenizer": (
        settings(tokenizer={"train": {"vocab_size": 512, "domains": ["poems"]}}),
        r"tokenizer\.train\.domains",
        "poems",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named_before_training_and_leaves_nothing_half_written(case, study_file, change_study, tmp_path):
    damage, where, problem = CASES[case]
    damage(study_file, change_study)
    home = tmp_path / "home"
    with pytest.raises(RegmixError) as caught:
        _until_mixtures(study_file, home)
    assert caught.match(where)
    assert caught.match(problem)
    assert caught.value.remedy
    assert not (home / "proxies").exists()
    leftovers = [path for path in home.rglob("*") if ".tmp" in path.name]
    assert leftovers == []
    for manifest in home.glob("shards/*/*"):
        assert (manifest / "manifest.json").is_file()


def test_a_mended_source_continues_where_it_stopped(study_file, tmp_path):
    path = study_file.parent / "text" / "descriptions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"text": "half')
    with pytest.raises(RegmixError, match=r"descriptions\.jsonl:\d+"):
        _until_mixtures(study_file, tmp_path / "home")
    path.write_bytes(whole)
    workspace = _until_mixtures(study_file, tmp_path / "home")
    assert workspace.need("mixtures").facts["mixtures"] == 13


def _until_mixtures(study_file, home):
    workspace = Workspace(study_file, home, say=lambda line: None)
    for stage in BEFORE_TRAINING:
        list(workspace.materialise(stage))
    return workspace
