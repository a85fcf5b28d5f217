"""Processes of the package: what they find, that their answers are complete or absent, and how their end is
reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import regmix_pipeline
from regmix_pipeline.errors import ProxyError, RegmixError, StudyError, error_from_payload
from regmix_pipeline.processes import Child, command, how_it_ended, module_search

ROOT = str(Path(regmix_pipeline.__file__).resolve().parents[1])
ANSWERING = """
import json, os, sys

for line in sys.stdin:
    task = json.loads(line)
    if task == "die":
        sys.stdout.write('{"half": ')
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
    print(json.dumps({"task": task, "word": os.environ["WORD"]}), flush=True)
sys.exit(3)
"""


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """A module of the caller's own, in a folder on PYTHONPATH alone."""
    (tmp_path / "answering.py").write_text(ANSWERING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "answering"


def test_a_child_answers_line_by_line_and_ends_with_its_input(answering):
    child = Child(answering, {"WORD": "ahoy"})
    for task in ({"a": [1, 2]}, "two"):
        child.tell(task)
        assert child.answer() == {"task": task, "word": "ahoy"}
    assert child.alive
    assert child.end() == 3  # it came to its own end, having read all
    assert not child.alive


def test_half_an_answer_is_none(answering):
    child = Child(answering, {"WORD": ""})
    child.tell("die")
    assert child.answer() is None
    child.tell("more")  # nobody reads it; nothing is raised
    assert child.end() == -signal.SIGKILL
    child.stop()  # again, which changes nothing


def test_a_child_that_is_stopped_is_gone(answering):
    child = Child(answering, {"WORD": ""})
    child.stop()
    assert not child.alive
    # A signal that comes before the child is a program of its own may be lost; its input ends then.
    assert child.end() in (-signal.SIGTERM, 3)


def test_this_package_is_found_first_and_the_working_directory_never(tmp_path, monkeypatch):
    for folder in (tmp_path / "here", tmp_path / "told"):
        (folder / "regmix_pipeline").mkdir(parents=True)
        (folder / "regmix_pipeline" / "__init__.py").write_text("raise SystemExit('another package')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "told"))
    assert module_search().split(os.pathsep) == [ROOT, str(tmp_path / "told")]
    # `processes` itself has no main: it is imported, and that is all.
    asked = [*command("regmix_pipeline.processes"), "ignored"]
    done = subprocess.run(
        asked,
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONPATH": module_search()},
        capture_output=True,
        text=True,
    )
    assert asked[0] == sys.executable
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.delenv("PYTHONPATH")
    assert module_search() == ROOT


def test_the_end_of_a_process_in_words():
    assert how_it_ended(0) == "ended with status 0"
    assert how_it_ended(137) == "ended with status 137"
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert how_it_ended(-(signal.SIGRTMIN + 1)) == f"was killed by signal {signal.SIGRTMIN + 1}"


def test_an_error_survives_as_texts():
    told = StudyError("no such field", where="study.yaml:3", remedy="remove it")
    again = error_from_payload(told.payload, ProxyError, "elsewhere")
    assert (type(again), str(again)) == (StudyError, str(told))


def test_an_error_of_an_unknown_class_is_of_the_given_one_at_the_given_place():
    class OwnError(RegmixError):
        pass

    again = error_from_payload(OwnError("odd").payload, ProxyError, "strategy own")
    assert (type(again), again.where) == (ProxyError, "strategy own")
    # Names that mean something else in the module of errors are not classes of errors.
    for name in ("annotations", "Sequence", "error_from_payload", "__builtins__"):
        assert type(error_from_payload([name, "odd", "", ""], ProxyError)) is ProxyError
