"""What counts of words that follow each other say of a mixture, before any proxy is trained."""
