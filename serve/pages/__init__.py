"""The pages people see in a browser. They use the gateway's public API, like any other client."""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
