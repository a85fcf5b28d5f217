"""Stage 1, documents: what every source holds now, observed and not copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regmix_pipeline.documents.observe import Observation, observe, version_at_a_glance
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.reasons import NEW, Kind, Reason
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import Recipe

CODE_VERSION = "1"


def missing_corpora(lab: Lab) -> list[str]:
    """Built-in corpora of the study that were not fetched yet."""
    from regmix_pipeline.documents.corpora import corpus_path

    asked = [source.corpus for _, source in lab.study.sources.values() if source.corpus]
    return [name for name in asked if not corpus_path(name, lab.data).is_file()]


def observations(lab: Lab) -> dict[str, Observation]:
    """Source -> what it holds. Looked at once in a lab's life, so that one run sees one state of the world."""

    def look() -> dict[str, Observation]:
        from regmix_pipeline.documents.corpora import ensure_all

        sources = lab.study.sources
        ensure_all([source.corpus for _, source in sources.values() if source.corpus], lab.data, lab.say)
        return {name: observe(source, lab.base, lab.data, lab.say) for name, (_, source) in sources.items()}

    return lab.once("observations", look)


def stale_at_a_glance(lab: Lab) -> dict[str, Reason]:
    """Source -> why it has to be observed again, as far as names, sizes and times tell. Reads and fetches nothing.

    Raises:
        DocumentError: a source cannot be listed.
    """
    stale = {}
    for name, (_, source) in lab.study.sources.items():
        record = lab.records.current("documents", name)
        version = version_at_a_glance(source, lab.base, lab.data)
        if record is None:
            stale[name] = NEW
        elif version is None:
            stale[name] = Reason(Kind.FILES_CHANGED)
        elif version != record.version:
            stale[name] = Reason(Kind.SETTINGS_CHANGED, ("content",))
    return stale


def _wanted(lab: Lab) -> dict[str, Recipe]:
    return {name: Recipe({}, {"content": seen.version}) for name, seen in observations(lab).items()}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    for name in recipes:
        seen = observations(lab)[name]
        facts = {
            "source": seen.label,
            "role": lab.study.sources[name][0],
            "files": len(seen.files),
            "megabytes": round(seen.bytes / 1e6, 3),
        }
        yield Output(name, seen.version, facts)


DOCUMENTS = Stage(
    "documents",
    (),
    "domain",
    CODE_VERSION,
    _wanted,
    _make,
    restores=False,
    group="data",
    description="Every source's documents, observed: the data version is a hash of their content, never of a time.",
)
