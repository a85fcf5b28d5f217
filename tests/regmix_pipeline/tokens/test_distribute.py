"""Many tasks give the bytes that one gives, whatever their number; what fails or is killed leaves the rest intact."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.tokens import executors
from regmix_pipeline.tokens.distribute import EXECUTION
from regmix_pipeline.tokens.shards import verify_shard


def content(folder):
    """Every file under a folder of shards, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def spread(place, name, texts, files, empty=(1,)):
    """Texts over so many files, what would be in some of them left out; the source that reads them in order."""
    (place.base / name).mkdir()
    for number in range(files):
        held = texts[number * len(texts) // files : (number + 1) * len(texts) // files] if number not in empty else []
        lines = "".join(json.dumps({"text": text}) + "\n" for text in held)
        (place.base / name / f"{number:03d}.jsonl").write_text(lines)
    return Source(jsonl=f"{name}/*.jsonl")


@pytest.fixture
def sources(place):
    """Duplicates within and across files, empty texts, an empty file, one file alone, limits, and a target."""
    texts = place.sentences(120)
    # A task takes a second to start: as few files as show every case.
    repeated = [*texts[:60], texts[3], " ", *texts[40:100], "", *texts[90:120], texts[0], texts[0]]
    return {
        "books": spread(place, "books", repeated, 5, empty=(2,)),
        "web": spread(place, "web", texts[20:] + texts[:20], 3),
        "single": place.write("single", repeated),
        "few": spread(place, "few", repeated, 4).model_copy(update={"max_documents": 50}),
        "short": spread(place, "short", repeated, 4).model_copy(update={"max_bytes": 2000}),
        "wiki": spread(place, "wiki", texts, 2),
    }


ROLES = {"wiki": "target"}


@pytest.mark.parametrize("tasks", [1, 2, 50])
def test_as_many_tasks_as_one_likes(place, sources, many, alone, tasks):
    if tasks < 50:  # the others are one task each in any case
        sources = {name: sources[name] for name in ("books", "wiki")}
    one = alone(sources, roles=ROLES)
    said = []
    assert many(sources, roles=ROLES, said=said, tasks=tasks, workers=2) == one
    assert "executor local" in said[0]
    assert content(place.base / "many") == content(place.base / "alone")
    for name, manifest in one.items():
        assert verify_shard(place.base / "many" / name / manifest.version) == manifest
    assert one["books"].duplicates == 13
    assert one["books"].without_text == 2
    # What is there is not made again, and no executor is started for it.
    again = []
    assert many(sources, roles=ROLES, said=again, tasks=tasks) == one
    assert again == []


def test_little_text_starts_no_executor(sources, many, monkeypatch, alone):
    monkeypatch.setattr(executors.subprocess, "Popen", None)
    assert many(sources, roles=ROLES, kind="slurm") == alone(sources, roles=ROLES)


def test_much_text_starts_one(place, sources, many, monkeypatch, alone):
    from regmix_pipeline.tokens import parts, source_plan

    sources = {name: sources[name] for name in ("books", "few")}
    for module in (parts, source_plan):
        monkeypatch.setattr(module, "PART_BYTES", 6000)
    said = []
    assert many(sources, said=said) == alone(sources)
    found = re.search(r"(\d+) parts of 2 sources", said[0])
    assert found
    assert int(found[1]) > 2
    assert content(place.base / "many") == content(place.base / "alone")


def test_a_limit_hides_what_lies_beyond_it(place, many, alone):
    source = spread(place, "books", place.sentences(60), 4).model_copy(update={"max_documents": 10})
    (place.base / "books" / "003.jsonl").write_text("no JSON\n")
    assert many({"books": source}, tasks=4, kind="local") == alone({"books": source})


def test_the_environment_goes_before_the_study(sources, many, monkeypatch, alone):
    monkeypatch.setenv("REGMIX_TOKENS_TASKS", "2")
    said = []
    assert many({"web": sources["web"]}, said=said) == alone({"web": sources["web"]})
    assert "2 parts of 1 sources" in said[0]


def test_a_bad_line_is_named_and_the_other_sources_are_made(place, sources, many, alone):
    with open(place.base / "books" / "003.jsonl", "a") as file:
        file.write('{"body": "x"}\n')
    line = len((place.base / "books" / "003.jsonl").read_text().splitlines())
    with pytest.raises(DocumentError, match="no text field 'text'") as one:
        alone({"books": sources["books"]})
    with pytest.raises(DocumentError, match="no text field 'text'") as caught:
        many({name: sources[name] for name in ("books", "web")}, tasks=3)
    assert caught.value.where == one.value.where == f"{place.base}/books/003.jsonl:{line}"
    assert caught.value.remedy == one.value.remedy
    made = alone({"web": sources["web"]})
    assert content(place.base / "many") == content(place.base / "alone")
    assert many({"web": sources["web"]}, tasks=3) == made


def test_a_split_shorter_than_a_window_leaves_nothing(place, sources, many):
    with pytest.raises(TokenError, match="fewer than the window"):
        many({"web": sources["web"]}, tasks=2, min_tokens=10**6)
    assert not [*(place.base / "many").rglob("*")]


def test_no_documents_at_all(place, many):
    with pytest.raises(DocumentError, match=r"has no documents with text \(3 are empty\)"):
        many({"books": spread(place, "books", [" "] * 4, 3)}, tasks=2)
    assert not [*(place.base / "many").rglob("*")]


def test_a_tokenizer_that_other_machines_see_otherwise(place, sources, many, tokenizer, monkeypatch):
    from regmix_pipeline.tokens import distribute

    elsewhere = place.base / "elsewhere.json"
    elsewhere.write_bytes(tokenizer.path.read_bytes() + b" ")

    def seen(tokenizer):
        return type(tokenizer)(elsewhere, tokenizer.version, tokenizer.vocab_size, tokenizer.eos_token, 0)

    monkeypatch.setattr(distribute, "without_training_sample", seen)
    with pytest.raises(TokenError, match="another tokenizer under the same path") as caught:
        many({"web": sources["web"]}, tasks=3)
    assert caught.value.where == str(elsewhere)


DRIVER = textwrap.dedent(
    """
    import json, pathlib, sys
    from regmix_pipeline.documents.observe import observe
    from regmix_pipeline.study.settings.documents import Source
    from regmix_pipeline.tokens.distribute import Tokenization
    from regmix_pipeline.study.settings.tokens import ExecutorSettings, ShardSettings
    from regmix_pipeline.tokens.source_plan import ShardRequest
    from regmix_pipeline.tokens.tokenizer import checked

    base, tokenizer = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    executor = ExecutorSettings(**json.loads(sys.argv[3]))
    settings = ShardSettings(validation_fraction=.5, seed=3, min_tokens=1, executor=executor)
    source = Source(jsonl="books/*.jsonl")
    wanted = [ShardRequest("books", source, "domain", observe(source, base, base).version)]
    eos = "<|endoftext|>"
    for manifest in Tokenization(base, base, checked(tokenizer, eos), base / "many", settings).shards(wanted):
        print(manifest.model_dump_json())
    """
)


def driver(place, tokenizer, **executor):
    """A run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(place.base), str(tokenizer.path), json.dumps(executor)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def made_parts(place):
    """Part folder -> when it was made, of those that are there."""
    found = (place.base / "many").glob("books/.parts/*/[0-9]*/part.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found if not path.parent.name.startswith(".")}


def wait_for(holds, seconds=60):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def processes(place):
    """Command lines of living processes that work for this place."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes()
        except OSError:
            continue
        if str(place.base).encode() in line and b"tokens.launch" in line:
            found.append(int(entry.parent.name))
    return found


def large(place, files=4):
    """Files that keep a task at work for a while beyond its start."""
    texts = [" ".join(place.sentences(60)[n % 60 :]) + f" {n}" for n in range(2000)]
    return spread(place, "books", texts, files, empty=())


def test_a_killed_run_goes_on_where_it_was(place, tokenizer, many, alone):
    source = large(place)
    first = driver(place, tokenizer, tasks=4, workers=1)
    wait_for(lambda: len(made_parts(place)) >= 2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    wait_for(lambda: not processes(place))
    there = made_parts(place)
    assert 2 <= len(there) < 4
    assert [path.name for path in (place.base / "many" / "books").iterdir()] == [".parts"]
    said = []
    kept = {}
    from regmix_pipeline.tokens import distribute

    original = distribute.join_parts

    def join_parts(parts, *rest):
        kept.update(made_parts(place))
        return original(parts, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distribute, "join_parts", join_parts)
        made = many({"books": source}, said=said, tasks=4, workers=2)
    assert f"{len(there)} of them there" in said[0]
    assert there.items() <= kept.items()
    assert made == alone({"books": source})
    assert content(place.base / "many") == content(place.base / "alone")


def test_a_killed_task_is_named_and_the_next_run_makes_it(place, many, alone, monkeypatch):
    source = large(place)
    original = executors.subprocess.Popen
    killed = []

    def killing(command, **given):
        process = original(command, **given)
        if command[-1] == "2" and not killed:
            killed.append(process.pid)
            time.sleep(0.4)
            os.kill(process.pid, signal.SIGKILL)
        return process

    monkeypatch.setattr(executors.subprocess, "Popen", killing)
    with pytest.raises(TokenError, match="1 of 4 parts were not made: the process was killed by SIGKILL") as caught:
        many({"books": source}, tasks=4, workers=2)
    assert caught.value.where == f"books, {place.base}/books/002.jsonl"
    assert str(place.base / "many" / EXECUTION) in caught.value.remedy
    assert len(made_parts(place)) == 3
    said = []
    assert many({"books": source}, said=said, tasks=4, workers=2) == alone({"books": source})
    assert "4 parts of 1 sources, executor local, 3 of them there" in said[0]
    assert content(place.base / "many") == content(place.base / "alone")


def parts_without_an_end(place, many, monkeypatch):
    """Make the two parts of a source, and fail before they are joined; the source."""
    from regmix_pipeline.tokens import distribute

    source = spread(place, "books", place.sentences(90), 2, empty=())
    with monkeypatch.context() as patch:
        patch.setattr(distribute, "join_parts", None)
        with pytest.raises(TypeError):
            many({"books": source}, tasks=2)
    return source


def test_a_damaged_part_is_made_again(place, many, alone, monkeypatch):
    source = parts_without_an_end(place, many, monkeypatch)
    (part,) = (place.base / "many").glob("books/.parts/*/000000-000000")
    (part / "train.ds").write_bytes(b"x")
    said = []
    assert many({"books": source}, said=said, tasks=2) == alone({"books": source})
    assert "1 of them there" in said[0]


def test_parts_of_other_text_never_count(place, many, alone, monkeypatch):
    """The same name, the same size: the parts of what the files held before are not taken for theirs."""
    source = parts_without_an_end(place, many, monkeypatch)
    assert len(made_parts(place)) == 2
    path = place.base / "books" / "001.jsonl"
    path.write_text(path.read_text().replace("mixture", "MIXTURE"))
    said = []
    assert many({"books": source}, said=said, tasks=2) == alone({"books": source})
    assert "there" not in said[0]
    assert content(place.base / "many") == content(place.base / "alone")


def test_files_that_change_while_they_are_read(place, sources, many, monkeypatch):
    """They fail, and what was read of them is never taken for what they held."""
    original = executors.subprocess.Popen

    def changing(command, **given):
        path = place.base / "web" / "000.jsonl"
        path.write_text(path.read_text().upper().replace("TEXT", "text"))
        return original(command, **given)

    monkeypatch.setattr(executors.subprocess, "Popen", changing)
    with pytest.raises(DocumentError, match="has changed since the run began"):
        many({"web": sources["web"]}, tasks=2)
    assert not [*(place.base / "many").rglob("*")]
