"""No stage's code changes unnoticed under the same code version."""

import importlib.util
import json
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("code_versions", Path(__file__).with_name("code_versions.py"))
code_versions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(code_versions)

COMMAND = "`python tests/regmix_pipeline/code_versions.py`"


def test_a_stage_whose_code_changed_has_another_code_version():
    accepted, now = json.loads(code_versions.FILE.read_text()), code_versions.current()
    changed = {name for name in now if name in accepted and now[name][1] != accepted[name][1]}
    forgotten = sorted(name for name in changed if now[name][0] == accepted[name][0])
    assert not forgotten, (
        f"the code behind {', '.join(forgotten)} changed. If it gives other results, raise the stage's CODE_VERSION. "
        f"Then, or if it gives the same results, run {COMMAND} and commit {code_versions.FILE.name}."
    )
    assert now == accepted, f"run {COMMAND} and commit {code_versions.FILE.name}"


BEFORE = '''
def mean(values: list[float]) -> float:
    """The mean."""
    if not values:
        raise ValueError("no values")
    say("computing")
    return sum(values) / len(values)
'''
SAME = """
from statistics import mean as unused

def mean(values):
    # A comment.
    if not values:
        raise ValueError("give values")
    say("the mean")
    return sum(values) / len(values)
"""


def test_only_what_computes_counts():
    digest = code_versions.digest_of
    assert digest(BEFORE) == digest(SAME)
    assert digest(BEFORE) != digest(BEFORE.replace("/ len(values)", "/ (len(values) - 1)"))
