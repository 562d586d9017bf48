"""Events that a page posts: checked, and passed on with nothing else.

Gradio copies any file that an event names into its cache, since the pages are mounted and not
launched, and prints a traceback for each event of another shape than its page sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pawl.errors import PawlError

_MOST_DEPTH = 20
_TYPES: dict[str, type | tuple[type, ...]] = {  # of a component's value, by its name in Gradio
    "textbox": str,
    "dropdown": str,
    "checkbox": bool,
    "checkboxgroup": list,
    "radio": (str, type(None)),
    "browserstate": (str, type(None)),
}
_TIMED = frozenset(("tick", "load", "then"))
_WITH_INDEX = frozenset(("like", "retry", "edit"))  # they say of which message


@dataclass(frozen=True, slots=True)
class EventShape:
    """The names of an event's input components, whether it is about a message, and whether the page
    sends it by itself."""

    inputs: tuple[str, ...]
    has_index: bool
    is_timed: bool = False


class Event(BaseModel):
    """What a page posts to ``/gradio_api/queue/join``; other fields are left out."""

    model_config = ConfigDict(extra="ignore", strict=True)

    fn_index: int
    session_hash: str = Field(pattern=r"^\w{1,64}$")
    data: list[Any] = Field(max_length=20)
    event_data: Any = None
    trigger_id: int | None = None


class Reset(BaseModel):
    """What a page posts to ``/gradio_api/reset``."""

    model_config = ConfigDict(extra="ignore", strict=True)

    event_id: str = Field(pattern=r"^\w{1,64}$")


class Cancel(Reset):
    """What a page posts to ``/gradio_api/cancel``."""

    session_hash: str = Field(pattern=r"^\w{1,64}$")
    fn_index: int


_CALLS: dict[str, type[Reset]] = {"/gradio_api/cancel": Cancel, "/gradio_api/reset": Reset}
M = TypeVar("M", bound=BaseModel)


def shapes_of(blocks: Any) -> dict[int, EventShape]:
    """The events of a built page, by ``fn_index``."""
    return {
        number: EventShape(
            tuple(component.get_block_name() for component in fn.inputs),
            any(name in _WITH_INDEX for _, name in fn.targets),
            all(name in _TIMED for _, name in fn.targets),
        )
        for number, fn in blocks.fns.items()
    }


def checked_event(raw: bytes, shapes: Mapping[int, EventShape]) -> dict[str, Any]:
    """The event to pass on. Raises PawlError: no page sends such a one."""
    event = _read(Event, raw)
    shape = shapes.get(event.fn_index)
    if shape is None or len(event.data) != len(shape.inputs):
        raise _refused("the page has no such event")
    for name, value in zip(shape.inputs, event.data, strict=True):
        if name in _TYPES and not isinstance(value, _TYPES[name]):
            raise _refused(f"a {name} holds something else")
        if name == "checkboxgroup" and not all(isinstance(one, str) for one in value):
            raise _refused("a choice is not text")
    if shape.has_index:
        index = event.event_data.get("index") if isinstance(event.event_data, dict) else None
        number = index[0] if isinstance(index, list) and index else index
        if type(number) is not int or number < 0:
            raise _refused("it does not say of which message")
    if _names_file([event.data, event.event_data]):
        raise _refused("files are not taken")
    return event.model_dump()


def checked_call(path: str, raw: bytes) -> dict[str, Any]:
    """The body of another call of the page's to pass on. Raises PawlError: no page sends such a
    one."""
    model = _CALLS.get(path.rstrip("/"))
    return _read(model, raw).model_dump() if model is not None else {}


def _read(model: type[M], raw: bytes) -> M:
    try:
        return model.model_validate_json(raw)
    except ValidationError as err:
        fault = err.errors()[0]
        field = ".".join(map(str, fault["loc"])) or "the body"
        raise _refused(f"{field}: {fault['msg']}") from None


def _names_file(value: Any, depth: int = 0) -> bool:
    """Whether a value may be a file for Gradio (a dict with a path), or is nested too deep."""
    if depth > _MOST_DEPTH:
        return True
    if isinstance(value, dict):
        return "path" in value or any(_names_file(one, depth + 1) for one in value.values())
    return isinstance(value, list) and any(_names_file(one, depth + 1) for one in value)


def _refused(why: str) -> PawlError:
    return PawlError("this is no event of the page", why, "Reload the page")
