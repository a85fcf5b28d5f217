"""The process that speaks to a Ray cluster: plain Ray, a task a proxy or a stack of them, fractions of a GPU.

Reads settings and tasks as one line of JSON and answers with lines of JSON: what is done, what it has to say, or why it
cannot go on. A worker or a node that dies gives its tasks back to Ray, which runs them elsewhere; they continue from
their last snapshot. When this process dies, Ray ends its tasks; run again, what was finished is found and the rest
continued.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regmix_pipeline.errors import ProxyError, RegmixError
from regmix_pipeline.processes import WORKER_SETTINGS
from regmix_pipeline.proxies.stack.units import in_stacks
from regmix_pipeline.proxies.workers.local import answers_to, line_of_lines, most_in_stack
from regmix_pipeline.proxies.workers.ray_task import proxy_task
from regmix_pipeline.proxies.workers.worker import answers_no_signals, lines_of_stdin, private_stdout
from regmix_pipeline.ray_cluster import LOOK_EVERY, Cluster, Need
from regmix_pipeline.study.settings.workers import EngineSettings

RETRIES = 8
"""Times that Ray runs a task again whose worker or node died."""
WAITING_PER_CPU = 4
"""Tasks handed to Ray beyond what runs: enough to keep it busy, few enough to end soon when this process ends."""


def main() -> None:
    """Do the tasks of the first line of standard input, and end when that ends."""
    answers_no_signals()
    answers = private_stdout()
    asked = json.loads(lines_of_stdin().get() or "{}")

    def tell(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    settings = EngineSettings.model_validate(asked["settings"])
    try:
        cluster = Cluster(
            settings.address,
            [
                Need("CPU", settings.cpus_per_proxy, "proxies.engine.cpus_per_proxy"),
                Need("GPU", settings.gpus_per_proxy, "proxies.engine.gpus_per_proxy"),
            ],
            settings.wait_for_nodes,
            "proxies.engine",
            ProxyError,
            lambda line: tell(said=line),
        )
        cluster.wait_for_room()
        for number, answer in _work(cluster, settings, asked["tasks"], asked["shapes"]):
            tell(task=number, answer=answer)
    except RegmixError as error:
        tell(refused=error.payload)


def _work(
    cluster: Cluster, settings: EngineSettings, tasks: Sequence[Mapping[str, Any]], shapes: Sequence[str | None]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number of a task, and what `worker.answer` says of it, in the order in which they end."""
    ray, waiting = cluster.ray, deque(_units(cluster.ray, settings, shapes))
    remote = ray.remote(proxy_task).options(
        num_cpus=settings.cpus_per_proxy,
        num_gpus=settings.gpus_per_proxy,
        max_retries=RETRIES,
        runtime_env={"env_vars": WORKER_SETTINGS},
    )
    going: dict[Any, list[int]] = {}
    while waiting or going:
        room = WAITING_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        while waiting and len(going) < room:
            numbers = waiting.popleft()
            line = line_of_lines([tasks[number] for number in numbers], settings.stack)
            going[remote.remote(line, settings.store, settings.cache)] = numbers
        ready, _ = ray.wait(list(going), num_returns=1, timeout=LOOK_EVERY)
        if not ready:
            cluster.look()
        for reference in ready:
            numbers = going.pop(reference)
            yield from zip(numbers, _answers(ray, reference, [tasks[number] for number in numbers]), strict=True)


def _units(ray: Any, settings: EngineSettings, shapes: Sequence[str | None]) -> list[list[int]]:
    """Numbers of the tasks that are done together, no more than leave work for all of the cluster."""
    kind, each = ("GPU", settings.gpus_per_proxy) if settings.gpus_per_proxy else ("CPU", settings.cpus_per_proxy)
    at_once = max(1, int(ray.cluster_resources().get(kind, 0) / each))
    most = most_in_stack(settings.stack, settings.gpus_per_proxy)
    return in_stacks(range(len(shapes)), most, at_once, lambda number: shapes[number])


def _answers(ray: Any, reference: Any, tasks: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    try:
        return answers_to(len(tasks), ray.get(reference))
    except ray.exceptions.RayError as error:
        problem = f"Ray gave up: {type(error).__name__}"
        remedy = "look at the cluster's log, and run again: finished proxies are kept"
        return [
            {"error": ProxyError(problem, where=str(task["where"]), remedy=remedy).payload, "seconds": 0.0}
            for task in tasks
        ]


if __name__ == "__main__":
    main()
