"""Trackers of experiments: where the training of proxies can be watched besides the Dagster UI."""
