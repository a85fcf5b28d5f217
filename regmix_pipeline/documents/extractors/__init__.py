"""How text comes out of the demo's packages: one function a corpus, each a generator of (id, text)."""
