from __future__ import annotations

import os
import time

from regmix_pipeline.engine.leftovers import sweep


def test_only_stale_temporaries_go(tmp_path):
    old = time.time() - 7200
    for name in (".a.1234.tmp.jsonl", "a.jsonl"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (old, old))
    (tmp_path / ".b.1234.tmp.jsonl").write_text("x")
    stale, living = tmp_path / ".c.1.tmp", tmp_path / ".d.1.tmp"
    for folder in (stale, living):
        folder.mkdir()
        (folder / "train.ds").write_text("x")
    for path in (stale / "train.ds", stale, living):
        os.utime(path, (old, old))

    assert sweep(tmp_path) == [tmp_path / ".a.1234.tmp.jsonl", stale]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.1234.tmp.jsonl", ".d.1.tmp", "a.jsonl"]


def test_absent_folder(tmp_path):
    assert sweep(tmp_path / "absent") == []
