"""The chain behind a decision in the exchange formats of other tools: OpenLineage events and W3C PROV."""
