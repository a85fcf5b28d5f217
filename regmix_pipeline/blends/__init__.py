"""Blends of others, audited: what a trainer's file of weights means for a run, and where it goes wrong."""
