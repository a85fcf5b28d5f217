"""Mixtures of a study on disk, in the formats of trainers: the one that was decided, or all of the current design."""
