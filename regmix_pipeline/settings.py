"""The base of every settings model: unknown fields are refused, values do not change after reading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from regmix_pipeline.errors import StudyError


class Settings(BaseModel):
    """A section of the study file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

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
                f"{said[place]!r}: {error.errors()[0]['msg']}", where=variables[place], remedy="mend or unset it"
            ) from error
