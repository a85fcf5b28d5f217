"""The arena whose losses follow from a known law, so that the best mixture is known too."""
