"""The structured answer that the checks ask for."""

from typing import Literal

from pydantic import BaseModel


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Paris", "Oslo"]
    sunny: bool
