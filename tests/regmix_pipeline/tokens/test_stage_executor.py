"""The stage of a study, with an executor and without."""

from __future__ import annotations

from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.tokens.stage import TOKEN_SHARDS, TOKENIZER


def test_a_study_s_shards_are_the_same_from_an_executor(study_file, tmp_path, monkeypatch):
    records = []
    for home in ("alone", "tasks"):
        said = []
        workspace = Workspace(study_file, tmp_path / home, tmp_path / "data", say=said.append)
        for stage in (DOMAINS, DOCUMENTS, TOKENIZER):
            assert all(made.error is None for made in workspace.materialise(stage))
            workspace.join()
        made = {each.key: each.record for each in workspace.materialise(TOKEN_SHARDS)}
        assert sum("parts of 4 sources, executor local" in line for line in said) == (home == "tasks")
        records.append({key: (each.version, each.recipe, each.facts, each.sums) for key, each in made.items() if each})
        monkeypatch.setenv("REGMIX_TOKENS_TASKS", "2")
    assert len(records[0]) == 4
    assert records[0] == records[1]
    # Another executor makes nothing stale.
    assert workspace.stale(TOKEN_SHARDS) == {}
    monkeypatch.setenv("REGMIX_TOKENS_EXECUTOR", "slurm")
    assert workspace.stale(TOKEN_SHARDS) == {}
