"""Worked examples: a client, a suite of one's own, and seven use cases (python -m examples)."""
