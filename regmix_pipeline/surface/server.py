"""A server of the Model Context Protocol that answers for a study's decisions: read-only, on this machine alone.

Every call opens the study again, so that an answer is of the decision that is current then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from regmix_pipeline import __version__
from regmix_pipeline.decisions.journal_check import HeadSource, no_reported_heads
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import RegmixError, StudyError
from regmix_pipeline.surface import answers
from regmix_pipeline.surface.answers import evidence_of

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

LOOPBACK = "127.0.0.1"
INSTRUCTIONS = (
    "Answers for a decision about a pre-training data mixture: losses as a function of the mixture, learned from small "
    "proxy models. Losses are nats per token of a proxy, lower is better. Begin with `surface`. Every prediction has "
    "an interval (low, high: where one proxy's measured loss would fall) and a standard error; compare mixtures by "
    "against_natural beside against_natural_error, and do not trust predictions where extrapolates is true. The best "
    "of many predicted mixtures is predicted too well: measure it, as `propose` does, before acting on it."
)


def server_of(open_study: Callable[[], Workspace], head_source: HeadSource = no_reported_heads) -> MCPServer:
    """The server.

    Args:
        open_study: opens the study's workspace; called for every question.
        head_source: heads of the journal that are kept elsewhere, for audits.

    Raises:
        StudyError: the package `mcp` is not installed.
    """
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp.types import ToolAnnotations
    except ImportError as error:
        raise StudyError(
            f"the package mcp cannot be imported: {error}",
            where="regmix mcp",
            remedy="pip install 'regmix-pipeline[mcp]'",
        ) from error
    server = MCPServer("regmix", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    reads = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    one_at_a_time = threading.Lock()

    def tool(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        @wraps(function)
        def answered(*args: Any, **kwargs: Any) -> dict[str, Any]:
            try:
                with one_at_a_time:
                    return function(*args, **kwargs)
            except RegmixError as error:
                raise ToolError(str(error)) from None

        return server.tool(annotations=reads)(answered)

    @tool
    def surface(decision: str | None = None) -> dict[str, Any]:
        """The response surface of a decision: domains with natural weight, limits and a curve of predicted loss each,
        targets with how well each is predicted out of fold, named mixtures (chosen, natural, uniform, best_observed)
        with predictions, and what to know before acting on it. ``decision``: an id, the start of one, "previous", or
        nothing for the current one."""
        return answers.surface(evidence_of(open_study(), decision))

    @tool
    def predict(
        mixtures: list[str | dict[str, float]], level: float = 0.9, decision: str | None = None
    ) -> dict[str, Any]:
        """Predicted losses of mixtures, each with an interval that holds with probability ``level`` and a standard
        error. A mixture is domain -> weight summing to 1 (domains left out have weight 0), or a name: chosen, natural,
        uniform, best_observed."""
        return answers.predictions(evidence_of(open_study(), decision), mixtures, level)

    @tool
    def explain(domain: str, decision: str | None = None) -> dict[str, Any]:
        """Why a domain has the weight it has: a sentence, the curve of its weight, what each limit is worth, what more
        of it does to each target, and the range of weights that is as good within one standard error."""
        from regmix_pipeline.decisions.explain.explanation import explanation_of

        return explanation_of(open_study(), domain, decision)

    @tool
    def propose(count: int = 4, decision: str | None = None) -> dict[str, Any]:
        """Mixtures whose measurement is worth most to the decision, and the regret that is expected without them.
        Nothing is trained or asked for."""
        return answers.proposals(evidence_of(open_study(), decision), count)

    @tool
    def audit(decision: str | None = None, contents: bool = False) -> dict[str, Any]:
        """The chain from a decision to its documents, verdicts and confirmation: whether every version and hash still
        holds (``holds``). ``contents``: take checksums of tokens, weights and source text too, which takes longer."""
        from regmix_pipeline.decisions.audit import audit_of, holds

        found = audit_of(open_study(), decision, contents=contents, head_source=head_source)
        return {"holds": holds(found), **found}

    return server


def serve(server: MCPServer, port: int | None = None) -> None:
    """Answer on standard input and output, or over HTTP on this machine's loopback address until stopped.

    Args:
        server: of `server_of`.
        port: of HTTP; the address is ``http://127.0.0.1:<port>/mcp``. None: standard input and output.
    """
    if port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host=LOOPBACK, port=port)
