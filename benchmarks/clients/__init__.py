"""The clients that people already use, run against Pawl: python -m benchmarks.clients

A client's check is a script in ``checks/``; its packages are pinned in ``pins/``, from which
``environments.py`` makes an environment of its own; ``__main__.py`` starts ``pawl up`` twice, runs
the scripts and holds what they read against the store; ``table.py`` writes ``docs/clients.md``.
"""
