"""Sources to shards, many at once: parts of their files are tasks of a datatrove executor, joined in reading order."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from regmix_pipeline.documents.resolve import resolve
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.progress import Progress, Say, to_stderr
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens.executors import Execution
from regmix_pipeline.tokens.join import join_parts
from regmix_pipeline.tokens.manifest import Manifest
from regmix_pipeline.tokens.parts import intact_part, without_training_sample
from regmix_pipeline.tokens.shards import (
    SPLITS,
    existing_shard,
    expected_shard_version,
    make_shard,
    manifest_of,
    shard_folder,
    written_shard,
)
from regmix_pipeline.tokens.source_plan import PartError, ShardRequest, SourcePlan, needs_executor, source_plan
from regmix_pipeline.tokens.tokenizer import TokenizerFile

EXECUTION = ".executor"
"""Folder, beside the shards, of the tasks and logs of an execution; it stays where a part could not be made."""
LOOK_EVERY = 0.2
"""Seconds between two looks at which parts are there."""
SPEAK_EVERY = 30.0
"""Seconds between two lines on how many there are."""


class Tokenization:
    """How the sources of a study become shards.

    Args:
        base: folder that relative globs start at (the study file's).
        data_folder: where the built-in corpora and the checksums of files are kept.
        tokenizer: the study's tokenizer.
        folder: the folder of all shards.
        settings: split, least tokens, and the executor.
        say: called with the number of parts that are there.

    Raises:
        StudyError: a variable of the environment is wrong.
    """

    def __init__(
        self,
        base: Path,
        data_folder: Path,
        tokenizer: TokenizerFile,
        folder: Path,
        settings: ShardSettings,
        say: Say = to_stderr,
    ) -> None:
        self.base, self.data_folder, self.folder = base, data_folder, folder.resolve()
        self.tokenizer, self.settings, self.say = without_training_sample(tokenizer), settings, say
        self.executor = settings.executor.overridden()

    def shards(self, sources: Sequence[ShardRequest]) -> Iterator[Manifest]:
        """Yield the manifest of each source's shard as soon as it is there: the same bytes whatever the executor.

        Little text is read by this process, source after source. Otherwise the parts of all sources are the tasks of
        one executor, and a source that fails leaves the others alone. Closing the iterator ends the tasks.

        Raises:
            RegmixError: as `make_shard`, for the first source that failed, once the others are made; a cluster that
                does not answer; parts that were not made. Parts that were stay, and the next run takes them up.
        """
        plans = []
        for request in sources:
            if request.source.tokens is not None:  # there is nothing to tokenise
                yield self._in_this_process(request)
                continue
            version = expected_shard_version(request.documents_version, self.tokenizer, self.settings, request.role)
            shard = shard_folder(self.folder, request.name, version)
            there = existing_shard(request.name, shard, self.settings, self.say)
            if there is not None:
                yield there
                continue
            if request.source.is_task:  # little text, and items that lines may share
                yield self._in_this_process(request)
                continue
            files = resolve(request.source, self.base, self.data_folder, self.say)
            plans.append(source_plan(request, shard, files, self.executor.tasks))
        if needs_executor(plans, self.executor):
            yield from self._distributed(plans)
        else:
            yield from (self._in_this_process(plan.request) for plan in plans)

    def _in_this_process(self, request: ShardRequest) -> Manifest:
        where = (request.name, request.source, self.base, self.data_folder, self.tokenizer, self.folder, self.settings)
        return make_shard(*where, request.role, request.documents_version, say=_silent)

    def _distributed(self, plans: Sequence[SourcePlan]) -> Iterator[Manifest]:
        cpus = self.executor.cpus_per_task
        tasks = [task for plan in plans for task in plan.tasks(self.tokenizer, self.settings, cpus)]
        total = sum(len(plan.parts) for plan in plans)
        kept = f", {total - len(tasks)} of them there" if total > len(tasks) else ""
        self.say(f"  {total} parts of {len(plans)} sources, executor {self.executor.kind}{kept}")
        errors: dict[str, RegmixError] = {}
        logs = self.folder / EXECUTION
        with Execution(logs, tasks, self.executor) if tasks else nullcontext() as execution:
            for plan, whole in self._finished_plans(plans, len(tasks), execution):
                try:
                    if not whole:
                        raise plan.failure(tasks, execution)
                    manifest = self._joined(plan)
                except RegmixError as error:
                    errors[plan.request.name] = error
                else:
                    yield manifest
        for plan in plans:
            plan.clean(keep=isinstance(errors.get(plan.request.name), PartError))
        if not any(isinstance(error, PartError) for error in errors.values()):
            shutil.rmtree(logs, ignore_errors=True)
        for plan in plans:
            if plan.request.name in errors:
                raise errors[plan.request.name]

    def _finished_plans(
        self, plans: Sequence[SourcePlan], tasks: int, execution: Execution | None
    ) -> Iterator[tuple[SourcePlan, bool]]:
        """Plans as they come to their end, and whether all their parts are there."""
        progress, waiting, made = Progress("parts", tasks, self.say, SPEAK_EVERY), list(plans), 0
        before = sum(len(plan.parts) for plan in plans) - tasks
        while waiting:
            # Asked before looking: what is not there when it has ended does not come.
            ended = execution is None or execution.ended
            for line in execution.news() if execution else ():
                self.say(line)
            left, some = [], 0
            for plan in waiting:
                missing = len(plan.not_there())
                if missing and not ended:
                    left.append(plan)
                    some += len(plan.parts) - missing
                else:
                    made += len(plan.parts) - missing
                    yield plan, not missing
            if (news := made + some - before - progress.done) > 0:
                progress.advance(news)
            waiting = left
            if waiting:
                time.sleep(LOOK_EVERY)

    def _joined(self, plan: SourcePlan) -> Manifest:
        request, parts = plan.request, list(plan.parts)

        def fill(folder: Path) -> Manifest:
            counts = [intact_part(part, self.tokenizer.dtype) for part in parts]
            if None in counts:
                raise PartError("a part was altered", where=request.name, remedy="run again: it is made again")
            made = join_parts(parts, folder, SPLITS[request.role], self.tokenizer.dtype)
            duplicates = made.duplicates + sum(each.duplicates for each in counts if each)
            empty = sum(each.without_text for each in counts if each)
            return manifest_of(
                request.name, request.source, request.role, self.tokenizer, made.splits, duplicates, empty
            )

        source, version = request.source, request.documents_version
        return written_shard(plan.shard, fill, source, self.base, self.data_folder, self.settings, version, say=_silent)


def _silent(_: str) -> None:
    """Shards report through the stage's own progress line."""
