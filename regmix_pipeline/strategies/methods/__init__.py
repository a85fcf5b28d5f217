"""The ways of choosing a mixture, one module each, and what those that learn from runs have in common."""
