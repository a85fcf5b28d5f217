"""What a study file or a command chooses by name: built-in parts, and the user's own."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from regmix_pipeline.errors import StudyError


class Registry(Mapping[str, Any]):
    """Name -> part. A part is imported when it is first used, so heavy libraries do not slow the start of a process.

    A name such as ``package.module:attribute`` is a part of the user's own; Python finds it on PYTHONPATH.

    Args:
        part: what a part is, for messages: ``regressor``.
        holder: ``__name__`` of the module that holds the registry.
        places: name -> ``module:attribute``, relative to the package of that module.
    """

    def __init__(self, part: str, holder: str, places: Mapping[str, str]) -> None:
        self.part, self.package, self.places = part, holder.rpartition(".")[0], dict(places)

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self.places[name].partition(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), attribute)

    def __contains__(self, name: object) -> bool:
        # A mapping's own would import the part: a second for every command that reads a study.
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def find(self, name: str, where: str = "") -> Any:
        """A built-in part, or one of the user's own.

        Raises:
            StudyError: there is none of that name, or it cannot be imported.
        """
        if ":" not in name:
            if name not in self:
                raise StudyError(f"no such {self.part}", where=where or name, remedy=f"choose {self.choices}")
            return self[name]
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            remedy = "put its folder on PYTHONPATH, and name the class after the colon"
            raise StudyError(f"cannot be imported: {error}", where=where or name, remedy=remedy) from error

    @property
    def choices(self) -> str:
        """What may be named, for messages."""
        return f"one of {', '.join(self)}, or give package.module:Class"

    def own_versions(self, names: Iterable[str]) -> dict[str, str]:
        """Name -> `code_version` of the user's own parts among ``names``: the package's code version does not know."""
        return {name: code_version(self.find(name)) for name in names if ":" in name}

    def name_type(self, *others: str) -> Any:
        """The type of a settings field that holds a name; ``others`` are valid too, without being in the registry."""

        def check(name: str) -> str:
            if name not in self and name not in others and ":" not in name:
                raise ValueError(f"{name!r} is not a {self.part}: choose {self.choices}")
            return name

        schema = {"anyOf": [{"enum": [*self, *others], "type": "string"}, {"pattern": ":", "type": "string"}]}
        return Annotated[str, AfterValidator(check), WithJsonSchema(schema)]


def code_version(part: Any) -> str:
    """The version of a part's code: its ``code_version``, raised by hand; "1" where it has none."""
    return str(getattr(part, "code_version", "1"))
