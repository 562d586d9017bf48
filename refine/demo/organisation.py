"""The made-up organisation of the demonstration, read from ``organisation.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ORGANISATION = Path(__file__).parent / "organisation.yaml"
Keys = Annotated[list[list[str]], Field(min_length=1)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Data):
    """A question with a known answer. ``keys``: spellings, one of each list must occur."""

    ask: str
    keys: Keys


class Fact(_Data):
    """Something that only the organisation knows; ``organisation.yaml`` explains the fields."""

    id: str
    answer: str
    keys: Keys
    never: list[str] = []
    mistaken: str
    day: list[str]
    evening: list[str]


class Request(_Data):
    """A request of the day, and what should have been answered."""

    ask: str
    answer: str


class EveningRequest(_Data):
    """A request that nobody makes before the night is over."""

    ask: str


class Behaviour(_Data):
    """A way of answering. ``check`` is a key of ``refine.demo.checks.BEHAVIOURS``."""

    id: str
    title: str
    category: str
    check: str
    day: list[Request]
    evening: list[EveningRequest]


class Organisation(_Data):
    """All that the people of the demonstration know and ask."""

    name: str
    about: str
    facts: list[Fact]
    behaviours: list[Behaviour]
    liked: list[Question]
    everyday: list[Question]


def load_organisation() -> Organisation:
    """Read and check ``organisation.yaml``."""
    import yaml

    return Organisation.model_validate(yaml.safe_load(ORGANISATION.read_text("utf-8")))
