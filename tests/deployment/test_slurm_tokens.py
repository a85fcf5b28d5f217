"""Parts as array jobs of datatrove's SlurmPipelineExecutor on a real Slurm of one node."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from regmix_pipeline.documents.observe import observe
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ExecutorSettings, ShardSettings, TokenizerSettings, TokenizerTraining
from regmix_pipeline.tokens.distribute import EXECUTION, Tokenization
from regmix_pipeline.tokens.source_plan import ShardRequest
from regmix_pipeline.tokens.tokenizer import ensure_tokenizer

ROOT = Path(__file__).parents[2]
SOURCE = Source(jsonl="books/*.jsonl")


@pytest.fixture
def place(tmp_path, slurm, real_text, monkeypatch):
    """A folder with three files of real text; this process submits jobs to the cluster."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    lines = (real_text / "code.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "books").mkdir()
    for number in range(3):
        # The first lines are in each file.
        (tmp_path / "books" / f"{number}.jsonl").write_text("".join(lines[:5] + lines[number::3]))
    return tmp_path


@pytest.fixture
def tokenizer(place):
    from regmix_pipeline.documents.readers import reader

    settings = TokenizerSettings(train=TokenizerTraining(vocab_size=400))
    readers = {"books": reader(SOURCE, place, place)}
    return ensure_tokenizer(settings, readers, place / "tokenizers", place, lambda _: None)


def shards(place, tokenizer, folder, **executor):
    settings = ShardSettings(validation_fraction=0.1, min_tokens=1, executor=ExecutorSettings(**executor))
    wanted = [ShardRequest("books", SOURCE, "domain", observe(SOURCE, place, place).version)]
    return list(Tokenization(place, place, tokenizer, place / folder, settings, lambda _: None).shards(wanted))


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


ARRAY = {"kind": "slurm", "tasks": 3, "mem_per_cpu_gb": 1}


def test_array_jobs_give_the_bytes_of_one_process(place, tokenizer, slurm):
    made = shards(place, tokenizer, "array", **ARRAY, partition="all", time="00:10:00")
    assert made == shards(place, tokenizer, "alone")
    assert made[0].duplicates >= 10
    assert content(place / "array") == content(place / "alone")
    # A job whose tasks have ended is in the queue for another moment.
    slurm.until(lambda: "regmix-tokens" not in slurm.told("squeue", "-h", "-o", "%j"))


def test_a_bad_line_comes_through(place, tokenizer):
    path = place / "books" / "1.jsonl"
    path.write_text(path.read_text() + "no JSON\n")
    with pytest.raises(DocumentError, match="malformed JSON") as caught:
        shards(place, tokenizer, "array", **ARRAY)
    assert caught.value.where == f"{path}:{len(path.read_text().splitlines())}"
    assert not [*(place / "array").rglob("*")]


def test_jobs_that_slurm_refuses(place, tokenizer):
    with pytest.raises(TokenError, match="the jobs cannot be submitted") as caught:
        shards(place, tokenizer, "array", **ARRAY, partition="nowhere")
    assert "invalid partition" in (place / "array" / EXECUTION / "launch.txt").read_text()
    assert str(place / "array" / EXECUTION) in caught.value.remedy


def test_jobs_that_die_are_named_and_the_next_run_goes_on(place, tokenizer):
    with pytest.raises(TokenError, match="3 of 3 parts were not made") as caught:
        shards(place, tokenizer, "array", **ARRAY, env_command="exit 3")
    assert caught.value.where == f"books, {place}/books/0.jsonl"
    assert shards(place, tokenizer, "array", **ARRAY) == shards(place, tokenizer, "alone")
    assert content(place / "array") == content(place / "alone")


DRIVER = textwrap.dedent(
    """
    import json, pathlib, sys
    from regmix_pipeline.documents.observe import observe
    from regmix_pipeline.study.settings.documents import Source
    from regmix_pipeline.tokens.distribute import Tokenization
    from regmix_pipeline.study.settings.tokens import ExecutorSettings, ShardSettings
    from regmix_pipeline.tokens.source_plan import ShardRequest
    from regmix_pipeline.tokens.tokenizer import checked

    place, tokenizer = pathlib.Path(sys.argv[1]), checked(pathlib.Path(sys.argv[2]), "<|endoftext|>")
    executor = ExecutorSettings(**json.loads(sys.argv[3]))
    settings = ShardSettings(validation_fraction=0.1, min_tokens=1, executor=executor)
    source = Source(jsonl="books/*.jsonl")
    wanted = [ShardRequest("books", source, "domain", observe(source, place, place).version)]
    list(Tokenization(place, place, tokenizer, place / "array", settings).shards(wanted))
    """
)


def test_a_killed_run_takes_its_jobs_along(place, tokenizer, slurm):
    waits = ARRAY | {"env_command": "sleep 100"}
    command = [sys.executable, "-c", DRIVER, str(place), str(tokenizer.path), json.dumps(waits)]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        slurm.until(lambda: "regmix-tokens" in slurm.told("squeue", "-h", "-t", "R", "-o", "%j"))
    finally:
        run.kill()
        run.wait()
    slurm.until(lambda: "regmix-tokens" not in slurm.told("squeue", "-h", "-o", "%j"))
    assert shards(place, tokenizer, "array", **ARRAY) == shards(place, tokenizer, "alone")
