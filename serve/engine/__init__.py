"""The vLLM engine: its process, its supervisor, its client, and the probe of its adapters."""
