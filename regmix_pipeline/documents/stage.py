"""Stage 1, documents: what every source holds now, observed and not copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regmix_pipeline.documents.observe import Observation, observe, version_by_listing
from regmix_pipeline.engine.reasons import NEW, Kind, Reason
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace

CODE_VERSION = "1"


def missing_corpora(workspace: Workspace) -> list[str]:
    """Built-in corpora of the study that were not fetched yet."""
    from regmix_pipeline.documents.corpora import corpus_path

    asked = [source.corpus for _, source in workspace.study.sources.values() if source.corpus]
    return [name for name in asked if not corpus_path(name, workspace.data).is_file()]


def observations(workspace: Workspace) -> dict[str, Observation]:
    """Source -> what it holds. Looked at once in a workspace's life, so that one run sees one state of the world."""

    def look() -> dict[str, Observation]:
        from regmix_pipeline.documents.corpora import ensure_all

        sources = workspace.study.sources
        ensure_all([source.corpus for _, source in sources.values() if source.corpus], workspace.data, workspace.say)
        return {
            name: observe(source, workspace.base, workspace.data, workspace.say)
            for name, (_, source) in sources.items()
        }

    return workspace.once("observations", look)


def stale_by_listing(workspace: Workspace) -> dict[str, Reason]:
    """Source -> why it has to be observed again, as far as names, sizes and times show. Reads and fetches nothing.

    Raises:
        DocumentError: a source cannot be listed.
    """
    stale = {}
    for name, (_, source) in workspace.study.sources.items():
        record = workspace.records.current("documents", name)
        version = version_by_listing(source, workspace.base, workspace.data)
        if record is None:
            stale[name] = NEW
        elif version is None:
            stale[name] = Reason(Kind.FILES_CHANGED)
        elif version != record.version:
            stale[name] = Reason(Kind.SETTINGS_CHANGED, ("content",))
    return stale


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    return {name: Recipe({}, {"content": seen.version}) for name, seen in observations(workspace).items()}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    for name in recipes:
        seen = observations(workspace)[name]
        facts = {
            "source": seen.label,
            "role": workspace.study.sources[name][0],
            "files": len(seen.files),
            "megabytes": round(seen.bytes / 1e6, 3),
        }
        yield Output(name, seen.version, facts)


DOCUMENTS = Stage(
    "documents",
    (),
    "domain",
    CODE_VERSION,
    _expected_recipes,
    _compute,
    restores=False,
    group="data",
    description="Every source's documents, observed: the data version is a hash of their content, never of a time.",
)
