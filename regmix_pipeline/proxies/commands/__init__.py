"""Proxies that a command of the user's own trains: what it is given, how it is run and watched, what it reports."""
