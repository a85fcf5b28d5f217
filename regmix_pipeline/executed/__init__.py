"""What a large run really drew of each source, beside what was decided."""
