"""Stage of finished proxies: every proxy that was found on disk, trained to its end; observed and not made.

Training feeds back through it: proxies of earlier days are evidence, and represent mixtures that need not be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint

CODE_VERSION = "1"
NAME = "finished_proxies"


def observed_proxies(workspace: Workspace) -> list[str]:
    """Ids of the proxies that were observed last, sorted."""
    return list(workspace.need(NAME).settings["proxies"])


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    if not workspace.study.trains:
        return {}
    names = (path.parent.name for path in workspace.path("proxies").glob("p*/proxy.json"))
    proxies, last = sorted(name for name in names if name.isalnum()), workspace.records.current(NAME)
    if last is not None and set(proxies) <= set(last.settings["proxies"]):
        # One that is gone is not evidence any more, which its readers see; nothing new was finished.
        proxies = last.settings["proxies"]
    return {UNPARTITIONED: Recipe({}, {"proxies": proxies, "code": CODE_VERSION})}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    proxies = recipes[UNPARTITIONED].settings["proxies"]
    yield Output(UNPARTITIONED, fingerprint(NAME, proxies), {"finished proxies": len(proxies)})


FINISHED_PROXIES = Stage(
    NAME,
    (),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    restores=False,
    folders=("proxies",),
    group="proxies",
    description="Proxies that were trained to their end and are on disk, of today's mixtures and of earlier ones.",
)
