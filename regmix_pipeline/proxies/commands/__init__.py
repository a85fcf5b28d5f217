"""Proxies that a command of the user's own trains: what it is told, how it is run and watched, what it reports."""
