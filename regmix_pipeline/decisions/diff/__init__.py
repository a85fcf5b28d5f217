"""Two decisions: what differs between them, and which cause moved which weight."""
