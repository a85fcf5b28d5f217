"""The base of every settings model: unknown fields are refused, numbers are finite, values do not change after
reading."""

from __future__ import annotations

import difflib
import os
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from regmix_pipeline.errors import StudyError

LARGEST = 2**63 - 1
"""Largest number: the ledger's columns hold no more, and sums of larger floats may be infinite."""


class Settings(BaseModel):
    """A section of the study file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_word_for_a_number(cls, value: Any, field: ValidationInfo) -> Any:
        place = _word_for_a_number(value, cls.model_fields[str(field.field_name)].annotation)
        if place is not None:
            raise inside(place, "a number is needed here; YAML reads yes, no, on and off as true and false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _not_too_large(cls, value: Any) -> Any:
        for key, each in value.items() if isinstance(value, dict) else [(None, value)]:
            if isinstance(each, int | float) and not -LARGEST <= each <= LARGEST:
                raise inside(() if key is None else (str(key),), f"the number is not one up to {LARGEST:,}")
        return value

    def overridden_by(self, variables: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Self:
        """These settings with what the environment says instead.

        Args:
            variables: field -> name of its variable; an empty one says nothing.
            environment: default the process's.

        Raises:
            StudyError: a variable does not hold what it should.
        """
        environment = os.environ if environment is None else environment
        said = {field: environment[name] for field, name in variables.items() if environment.get(name)}
        try:
            return type(self).model_validate(self.model_dump() | said, strict=False)
        except ValidationError as error:
            place = str(error.errors()[0]["loc"][0])
            raise StudyError(
                f"{said[place]!r}: {error.errors()[0]['msg']}", where=variables[place], remedy="correct or unset it"
            ) from error


def inside(place: Sequence[str | int], problem: str) -> PydanticCustomError:
    """A mistake at a place inside the section whose validator found it: to be raised there."""
    return PydanticCustomError("inside", "{problem}", {"problem": problem, "place": tuple(place)})


def _word_for_a_number(value: Any, kind: Any) -> tuple[str, ...] | None:
    """Where in a value there is true or false for a number; None where there is not."""
    kinds = _members(kind)
    if isinstance(value, bool):
        return () if bool not in kinds and (int in kinds or float in kinds) else None
    if not isinstance(value, Mapping):
        return None
    inner = [get_args(each)[1] for each in kinds if get_origin(each) is dict]
    found = ((key, _word_for_a_number(part, each)) for key, part in value.items() for each in inner)
    return next(((str(key), *place) for key, place in found if place is not None), None)


def place_of(item: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Where one of pydantic's errors is, in fields, keys, positions, and names of a union's members."""
    return (*item["loc"], *(item["ctx"]["place"] if item["type"] == "inside" else ()))


def problem_of(item: Mapping[str, Any], model: BaseModel | type[BaseModel]) -> str:
    """What one of pydantic's errors about ``model`` says, in words for the person who wrote the field."""
    if item["type"] == "extra_forbidden":
        whole = model if isinstance(model, type) else type(model)
        return _unknown_field(str(item["loc"][-1]), fields_at(whole, item["loc"][:-1]))
    if item["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return "a section with fields is needed here, for instance `{name: value}`"
    if item["type"] in ("list_type", "tuple_type"):
        return "a list is needed here, for instance `[a, b]`"
    if item["type"] == "missing":
        return "this field is needed"
    if item["type"] == "too_short":
        return f"at least {item['ctx']['min_length']} are needed here, this has {item['ctx']['actual_length']}"
    return str(item["msg"]).removeprefix("Value error, ")


def fields_at(model: type[BaseModel], place: Sequence[Any]) -> list[str]:
    """Names of the fields that a section may have, sorted.

    Args:
        model: of the whole.
        place: the section, as pydantic names it: fields, keys, positions, and names of a union's members.
    """
    kinds: list[Any] = [model]
    for part in place:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return sorted({name for kind in models for name in kind.model_fields})


def _inside(kind: Any, part: Any) -> list[Any]:
    """What a part of a value of this kind may be."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return [kind] if field is None else _members(field.annotation)  # of a union, pydantic names the member too
    inner = [each for each in get_args(kind) if each is not ...]
    return _members(inner[-1]) if inner else []


def _members(kind: Any) -> list[Any]:
    """The kinds of a union; of another kind, itself."""
    if get_origin(kind) in (Union, types.UnionType):
        return [member for each in get_args(kind) for member in _members(each)]
    return [kind.__value__ if hasattr(kind, "__value__") else kind]


def _unknown_field(name: str, known: Iterable[str]) -> str:
    """What to say of a field that a section does not have."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"there is no such field; did you mean {near[0]}?"
    return "there is no such field" + (f"; the fields here are {', '.join(known)}" if known else "")
