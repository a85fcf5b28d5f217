"""Strategies compared by the models that their choices lead to."""
