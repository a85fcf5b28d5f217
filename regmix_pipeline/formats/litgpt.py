"""litgpt: a data module over litdata's CombinedStreamingDataset."""

from __future__ import annotations

import json

from regmix_pipeline.formats.count import litdata_folder
from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format

MODULE = '''
from dataclasses import dataclass, field

from litgpt.data import DataModule
from torch.utils.data import DataLoader

FOLDERS = {folders}
WEIGHTS = {weights}


def combined(seq_length, seed={seed}, shuffle=True):
    """The domains as one dataset of pieces of ``seq_length`` tokens."""
    from litdata.streaming import CombinedStreamingDataset, StreamingDataset, TokensLoader

    return CombinedStreamingDataset(
        datasets=[
            StreamingDataset(
                input_dir=FOLDERS[domain],
                item_loader=TokensLoader(block_size=seq_length),
                shuffle=shuffle,
                drop_last=True,
                seed=seed,
            )
            for domain in WEIGHTS
        ],
        seed=seed,
        weights=list(WEIGHTS.values()),
        iterate_over_all=False,
    )


@dataclass
class Mixture(DataModule):
    """The mixture for `litgpt pretrain --data {module}.Mixture --data.val_path ...`."""

    val_path: str = ""
    """Folder of litdata chunks to validate on."""
    seed: int = {seed}
    """Seed of the shuffling and of the choice of domains."""
    num_workers: int = 8
    """DataLoader processes."""

    batch_size: int = field(init=False, repr=False, default=1)
    seq_length: int = field(init=False, repr=False, default=2048)

    def __post_init__(self):
        super().__init__()

    def connect(self, tokenizer=None, batch_size=1, max_seq_length=None):
        self.batch_size = batch_size
        self.seq_length = (max_seq_length or 2048) + 1

    def train_dataloader(self) -> DataLoader:
        from litdata.streaming import StreamingDataLoader

        return StreamingDataLoader(
            combined(self.seq_length, self.seed),
            batch_size=self.batch_size,
            pin_memory=True,
            num_workers=self.num_workers,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader:
        from litdata.streaming import StreamingDataLoader, StreamingDataset, TokensLoader

        if not self.val_path:
            raise ValueError("say where the validation chunks are: --data.val_path FOLDER")
        return StreamingDataLoader(
            StreamingDataset(self.val_path, item_loader=TokensLoader(block_size=self.seq_length)),
            batch_size=self.batch_size,
            pin_memory=True,
            num_workers=self.num_workers,
            drop_last=True,
        )
'''


def litgpt(export: Export) -> dict[str, str]:
    """A Python module with a data module: litgpt has none that reads a mixture of any number of folders from a file.

    litdata's weights are chances of a sample and are normalised. A sample is a piece of equal length, so they are
    shares of tokens. The combined dataset ends where its first domain does; litgpt then starts all domains again.
    """
    comment = export.comment(
        "Weights are chances of a sample. Samples are pieces of equal length, so they are shares of tokens.",
        "Every folder has to hold token chunks written by litdata's optimize with item_loader=TokensLoader().",
        "The dataset ends as soon as one domain is used up. litgpt then starts every domain again, shuffled again: "
        "domains that are not used up by then repeat some text and leave out other, and no limit on epochs is kept.",
    )
    folders = {domain: export.data[domain].address for domain in export.weights}
    body = (
        MODULE.replace("{folders}", json.dumps(folders, indent=4, ensure_ascii=False))
        .replace("{weights}", json.dumps(export.weights, indent=4, ensure_ascii=False))
        .replace("{seed}", str(export.seed))
        .replace("{module}", export.main.removesuffix(".py"))
    )
    return {"": comment + body}


LITGPT = Format(litgpt, ".py", "template", silent=True, count=litdata_folder)
