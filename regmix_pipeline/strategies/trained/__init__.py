"""The arena that trains a study's models on its data."""
