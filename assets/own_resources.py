"""Resources of one study under names of its own, where a code location has several studies.

Dagster gives a function the resource that its parameter is called by, and a location has one resource of each name.
"""

from collections.abc import Callable
from functools import wraps
from inspect import isgeneratorfunction, signature
from typing import Any, TypeVar

from regmix_pipeline.assets.names import StudyNames

F = TypeVar("F", bound=Callable[..., Any])
RESOURCES = ("workspace", "trainer", "ledger")
"""As parameters call them."""


def with_own_resources(names: StudyNames) -> Callable[[F], F]:
    """The same function, whose parameters in `RESOURCES` Dagster knows by the study's names."""

    def renamed(function: F) -> F:
        if not names.prefix:
            return function
        own = {names.of_location(name): name for name in RESOURCES}
        parameters = signature(function).parameters.values()

        def arguments(given: dict[str, Any]) -> dict[str, Any]:
            return {own.get(name, name): value for name, value in given.items()}

        @wraps(function)
        def called(*values: Any, **given: Any) -> Any:
            return function(*values, **arguments(given))

        @wraps(function)
        def steps(*values: Any, **given: Any) -> Any:
            yield from function(*values, **arguments(given))

        made = steps if isgeneratorfunction(function) else called
        made.__signature__ = signature(function).replace(  # type: ignore[attr-defined]
            parameters=[
                each.replace(name=names.of_location(each.name)) if each.name in RESOURCES else each
                for each in parameters
            ]
        )
        return made  # type: ignore[return-value]

    return renamed
