"""The chain as a W3C PROV document (https://www.w3.org/TR/prov-dm/), in its JSON form.

Versions are entities, what made them activities, the software and the people agents. A verdict is an entity of its own:
who approved a decision did not make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from prov.constants import PROV, PROV_ROLE, PROV_TYPE
from prov.identifier import QualifiedName
from prov.model import ProvAgent, ProvDocument

from regmix_pipeline.decisions.find import Decision
from regmix_pipeline.decisions.verdicts import Verdict
from regmix_pipeline.engine.records import UNPARTITIONED
from regmix_pipeline.lineage.chain import DECISION, Step, Thing

VOCABULARY = "urn:regmix-pipeline:terms:"


def document_of(steps: Iterator[Step], decision: Decision, verdicts: Sequence[Verdict]) -> ProvDocument:
    """The whole document. Identifiers are ``study:asset/key@version``; attributes are ``regmix:...``."""
    builder = _DocumentBuilder(decision)
    for step in steps:
        builder.step(step)
    for verdict in verdicts:
        builder.verdict(verdict)
    return builder.document


def entity_name(thing: Thing) -> str:
    """The local part of a version's identifier."""
    return quote(f"{thing.place}@{thing.version}", safe="/@")


def activity_name(made: Thing) -> str:
    """The local part of the identifier of what made it."""
    return f"make/{entity_name(made)}"


class _DocumentBuilder:
    """A PROV document about one decision while it is written."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.document = ProvDocument()
        self.names = self.document.add_namespace("study", f"urn:regmix:{quote(decision['study'])}:")
        self.terms = self.document.add_namespace("regmix", VOCABULARY)
        self.people: dict[str, ProvAgent] = {}
        self.software = self.document.agent(
            self.terms["software"], [(PROV_TYPE, PROV["SoftwareAgent"]), *self._attributes(_software(decision))]
        )
        self.decided = Thing(DECISION, UNPARTITIONED, decision["decision"])

    def step(self, step: Step) -> None:
        """What was made, what made it, and what that read."""
        document, made, act = self.document, self._entity(step.made), self.names[activity_name(step.made)]
        kind = [(PROV_TYPE, PROV["Collection"])] if step.members else []
        stated = _stated(step) | (_stated_of_decision(self.decision) if step.made == self.decided else {})
        document.entity(made, [*kind, *self._attributes(stated)])
        circumstances = {"asset": step.made.asset, "run": list(step.runs), "recipe": step.recipe}
        document.activity(act, step.started, step.ended, self._attributes(circumstances))
        document.wasGeneratedBy(made, act, step.ended)
        document.wasAssociatedWith(act, self.software)
        document.wasAttributedTo(made, self.software)
        for thing in step.inputs:
            document.used(act, self._entity(thing))
            document.wasDerivedFrom(made, self._entity(thing), act)
        for place, version in step.members.items():
            member = self._entity(Thing(step.made.asset, place.split("@")[0], version))
            document.entity(member, self._attributes({"version": version}))
            document.hadMember(made, member)
        if step.made == self.decided:
            self._trigger(act)

    def verdict(self, verdict: Verdict) -> None:
        """What somebody said of the decision: a judgement that used it, by a person."""
        document, person = self.document, self._person(verdict.by, [(PROV_TYPE, PROV["Person"])])
        said = {"said": verdict.said, "reason": verdict.reason, "through": verdict.through}
        entity = document.entity(self.names[f"verdict/{verdict.verdict}"], self._attributes(said))
        act = document.activity(self.names[f"make/verdict/{verdict.verdict}"], verdict.said_at, verdict.said_at)
        document.wasGeneratedBy(entity, act, verdict.said_at)
        document.used(act, self._entity(self.decided))
        document.wasDerivedFrom(entity, self._entity(self.decided), act)
        document.wasAssociatedWith(act, person, other_attributes={PROV_ROLE: verdict.said})
        document.wasAttributedTo(entity, person)

    def _trigger(self, act: QualifiedName) -> None:
        triggered = self.decision.get("triggered") or {}
        if by := triggered.get("by"):
            stated = {"through": triggered.get("through", ""), "why": triggered.get("why", "")}
            self.document.wasAssociatedWith(
                act, self._person(by, []), other_attributes=[(PROV_ROLE, "trigger"), *self._attributes(stated)]
            )

    def _person(self, name: str, kind: list[tuple[Any, Any]]) -> ProvAgent:
        if name not in self.people:
            place = self.names[f"agent/{quote(name, safe='')}"]
            self.people[name] = self.document.agent(place, [*kind, *self._attributes({"name": name})])
        return self.people[name]

    def _entity(self, thing: Thing) -> QualifiedName:
        return self.names[entity_name(thing)]

    def _attributes(self, stated: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """Attribute pairs, a list as one pair a value; what is empty is left out."""
        pairs = []
        for name, value in stated.items():
            values = value if isinstance(value, list) else [value]
            pairs += [(self.terms[name], each) for each in values if each not in ("", None)]
        return pairs


def _stated(step: Step) -> dict[str, Any]:
    names = {fact: fact.replace(" ", "_") for fact in step.facts if fact.replace(" ", "_").isidentifier()}
    facts = {names[fact]: step.facts[fact] for fact in names if isinstance(step.facts[fact], str | int | float | bool)}
    files = [f"{name} sha256:{total}" if total else name for name, total in step.files.items()]
    return facts | {"asset": step.made.asset, "key": step.made.key, "version": step.made.version, "file": files}


def _stated_of_decision(decision: Decision) -> dict[str, Any]:
    return {
        "mixture": decision["mixture"]["id"],
        "weight": [f"{domain} {weight}" for domain, weight in decision["mixture"]["weights"].items()],
        "summary": decision["summary"],
        "seal": decision.get("seal", ""),
    }


def _software(decision: Decision) -> dict[str, Any]:
    code, environment = decision.get("code") or {}, decision.get("environment") or {}
    libraries = environment.get("libraries") or code.get("libraries") or {}
    return {
        "name": "regmix-pipeline",
        "version": code.get("package"),
        "python": environment.get("python") or code.get("python"),
        "library": [f"{name} {version}" for name, version in libraries.items()],
    }
