"""Stage of finished proxies: every proxy that was found on disk, trained to its end; observed and not made.

Training feeds back through it: proxies of earlier days are evidence, and stand for mixtures that need not be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import WHOLE, Recipe

CODE_VERSION = "1"
NAME = "finished_proxies"


def observed_proxies(lab: Lab) -> list[str]:
    """Ids of the proxies that were observed last, sorted."""
    return list(lab.need(NAME).settings["proxies"])


def _wanted(lab: Lab) -> dict[str, Recipe]:
    if not lab.study.trains:
        return {}
    names = (path.parent.name for path in lab.path("proxies").glob("p*/proxy.json"))
    proxies, last = sorted(name for name in names if name.isalnum()), lab.records.current(NAME)
    if last is not None and set(proxies) <= set(last.settings["proxies"]):
        # One that is gone is no evidence any more, which its readers see; nothing new was finished.
        proxies = last.settings["proxies"]
    return {WHOLE: Recipe({}, {"proxies": proxies, "code": CODE_VERSION})}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    proxies = recipes[WHOLE].settings["proxies"]
    yield Output(WHOLE, fingerprint(NAME, proxies), {"finished proxies": len(proxies)})


FINISHED_PROXIES = Stage(
    NAME,
    (),
    None,
    CODE_VERSION,
    _wanted,
    _make,
    restores=False,
    folders=("proxies",),
    group="proxies",
    description="Proxies that were trained to their end and are on disk, of today's mixtures and of earlier ones.",
)
