"""One decision: why a domain weighs what it does."""
