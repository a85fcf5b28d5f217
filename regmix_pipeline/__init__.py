"""RegMix as a data pipeline: the best pre-training mixture, how sure we are of it, and why it was chosen."""

__version__ = "0.1.0"
