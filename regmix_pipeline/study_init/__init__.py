"""A first study file for a folder of data: what is there, how much of it, and settings that fit."""
