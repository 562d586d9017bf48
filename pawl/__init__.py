"""Pawl: serve a chat model that learns from its users and is only ever let forward.

This package holds what every room shares (settings, errors, records, models and
adapters on disk, the HTTP client) and, in ``pawl.cli``, the command line. It imports
nothing heavy.
"""

__version__ = "0.1.0"
