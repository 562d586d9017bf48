"""Answers people: the vLLM child, the gateway, recording, the pages, promotion while running."""
