"""Dividing files into parts, and joining the parts again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.documents.resolve import resolve
from regmix_pipeline.errors import DocumentError, StudyError, TokenError
from regmix_pipeline.files import write_json
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ExecutorSettings, ShardSettings
from regmix_pipeline.tokens.distribute import Tokenization
from regmix_pipeline.tokens.executors import task_path
from regmix_pipeline.tokens.join import first_of_equals
from regmix_pipeline.tokens.part_steps import part_pipeline
from regmix_pipeline.tokens.parts import divided, part_count, read_failure, write_failure
from regmix_pipeline.tokens.shards import make_shard, shard_folder
from regmix_pipeline.tokens.source_plan import ShardRequest, source_plan


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60), st.integers(1, 80))
def test_every_file_is_in_one_part_and_parts_are_even(sizes, parts):
    found = divided(sizes, parts)
    assert [index for part in found for index in part] == list(range(len(sizes)))
    assert 1 <= len(found) <= min(parts, len(sizes))
    assert all(len(part) for part in found)
    share = (sum(sizes) + len(sizes)) / parts
    held = [sum(sizes[index] + 1 for index in part) for part in found]
    largest = max(size + 1 for size in sizes)
    # A file is never cut, so a part may be larger than its share by the halves of the files at its ends.
    assert all(each <= share + largest for each in held)


@pytest.mark.parametrize(("tasks", "count"), [(None, 3), (1, 1), (2, 2), (99, 4)])
def test_how_many_parts(tasks, count):
    sizes = [200_000_000, 200_000_000, 0, 200_000_000]
    assert part_count(Source(jsonl="x"), sizes, tasks) == count
    for limit in ("max_documents", "max_bytes"):
        assert part_count(Source.model_validate({"jsonl": "x", limit: 5}), sizes, tasks) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=50))
def test_the_first_of_equal_digests_stays(digests):
    high, low = (np.array([each[half] for each in digests], dtype=np.uint64) for half in range(2))
    expected = [digest not in digests[:index] for index, digest in enumerate(digests)]
    assert first_of_equals(high, low).tolist() == expected


TEXTS = st.text(st.sampled_from("ab é\n"), max_size=6)


@settings(max_examples=40, deadline=None)
@given(files=st.lists(st.lists(TEXTS, max_size=8), min_size=1, max_size=6), tasks=st.integers(1, 6))
@pytest.mark.parametrize("role", ["domain", "target"])
def test_parts_join_to_what_one_process_writes(tokenizer, role, files, tasks):
    if not any(files):
        files = [["a"], *files]
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for number, texts in enumerate(files):
            (base / f"{number}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        source = Source(jsonl="*.jsonl")
        half = ShardSettings(validation_fraction=0.5, min_tokens=1)
        expected, made = (_attempt(each, base, source, tokenizer, half, role, tasks) for each in (_alone, _joined))
        assert made == expected


def _attempt(make, base, source, tokenizer, half, role, tasks):
    """What a shard's files hold, or what is said of why there is none."""
    try:
        manifest, shards = make(base, source, tokenizer, half, role, tasks)
    except (DocumentError, TokenError) as error:
        return str(error)
    held = shard_folder(shards, "books", manifest.version)
    return manifest, {path.name: path.read_bytes() for path in held.iterdir()}


def _alone(base, source, tokenizer, half, role, tasks):
    shards = base / "alone"
    return make_shard("books", source, base, base, tokenizer, shards, half, role, "v", lambda _: None), shards


def _joined(base, source, tokenizer, half, role, tasks):
    shards = base / "joined"
    tokenization = Tokenization(base, base, tokenizer, shards, half, lambda _: None)
    wanted = ShardRequest("books", source, role, "v")
    version = _alone_version(tokenizer, half, role)
    plan = source_plan(wanted, shard_folder(shards, "books", version), resolve(source, base, base), tasks)
    stated = list(plan.tasks(tokenization.tokenizer, half, 1))
    for rank, task in enumerate(stated):
        write_json(task_path(base / "tasks", rank), task.model_dump(mode="json"))
    for rank in range(len(stated)):
        data = None
        for step in part_pipeline(base / "tasks"):
            data = step.run(data, rank, len(stated))
    assert not plan.not_there()
    return tokenization._joined(plan), shards


def _alone_version(tokenizer, half, role):
    from regmix_pipeline.tokens.shards import expected_shard_version

    return expected_shard_version("v", tokenizer, half, role)


@pytest.fixture(autouse=True)
def _observed(monkeypatch):
    """Documents are what they were said to be, under a version that needs no reading."""
    from types import SimpleNamespace

    from regmix_pipeline.tokens import shards

    monkeypatch.setattr(shards, "observe", lambda *given, **more: SimpleNamespace(version="v"))


def test_an_error_of_a_task_is_the_same_error_here(tmp_path, tokenizer):
    source = Source(jsonl="*.jsonl")
    (tmp_path / "a.jsonl").write_text("{}\n")
    plan = source_plan(
        ShardRequest("books", source, "domain", "v"), tmp_path / "s" / "v", resolve(source, tmp_path, tmp_path), 1
    )
    (task,) = plan.tasks(tokenizer, ShardSettings(), 1)
    told = DocumentError("damaged", where="a.jsonl:17", remedy="repair it")
    write_failure(task, told)
    error = read_failure(task.failure)
    assert (type(error), str(error)) == (DocumentError, str(told))
    write_failure(task, OSError(28, "No space left on device"))
    error = read_failure(task.failure)
    assert isinstance(error, TokenError)
    assert error.where == f"books, {tmp_path}/a.jsonl"
    assert "No space left" in error.problem
    assert "free space" in error.remedy


def test_the_environment_goes_before_the_study():
    study = ExecutorSettings(kind="ray", tasks=4, address="head:1")
    assert study.overridden({}) == study
    said = study.overridden(
        {"REGMIX_TOKENS_EXECUTOR": "slurm", "REGMIX_TOKENS_TASKS": "9", "REGMIX_TOKENS_PARTITION": "cpu"}
    )
    assert (said.kind, said.tasks, said.partition, said.address) == ("slurm", 9, "cpu", "head:1")
    with pytest.raises(StudyError, match="REGMIX_TOKENS_EXECUTOR: 'kubernetes'"):
        study.overridden({"REGMIX_TOKENS_EXECUTOR": "kubernetes"})
    with pytest.raises(StudyError, match="REGMIX_TOKENS_TASKS: 'many'"):
        study.overridden({"REGMIX_TOKENS_TASKS": "many"})


def test_where_shards_are_made_is_no_part_of_their_version(tokenizer):
    from regmix_pipeline.tokens.shards import expected_shard_version

    here, there = (ShardSettings(executor=ExecutorSettings(kind=kind)) for kind in ("local", "slurm"))
    assert expected_shard_version("v", tokenizer, here) == expected_shard_version("v", tokenizer, there)
