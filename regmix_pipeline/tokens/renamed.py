"""Shards of a domain that was renamed: the same files under the new name, nothing is tokenised."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from regmix_pipeline.files import folder_written_atomically, write_json
from regmix_pipeline.tokens.manifest import MANIFEST, read_manifest
from regmix_pipeline.tokens.shards import shard_folder


def take_over_shard(shards: Path, former: str, name: str, version: str) -> bool:
    """Give the shard that ``former`` has in this version to ``name`` as well; returns whether there was one.

    The files of tokens are shared where the file system has links, copied elsewhere.
    """
    old, new = shard_folder(shards, former, version), shard_folder(shards, name, version)
    if new.exists() or not (old / MANIFEST).is_file():
        return False
    with folder_written_atomically(new) as temporary:
        for path in old.iterdir():
            if path.name == MANIFEST:
                continue
            try:
                os.link(path, temporary / path.name)
            except OSError:
                shutil.copyfile(path, temporary / path.name)
        write_json(temporary / MANIFEST, read_manifest(old).model_copy(update={"source": name}).model_dump())
    return True
