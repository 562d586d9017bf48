"""The messages of a chat request, as they are asked and as they are recorded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pawl.schemas import Body, Message
from serve.api.bodies import or_null
from serve.api.tools import MAX_CALLS, ToolCall

MAX_PARTS = 10_000  # of one message


class TextPart(Body, extra="ignore"):
    type: Literal["text"]
    text: str


_Parts = Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS, fail_fast=True)]


class ChatRequestMessage(Body, extra="ignore", json_schema_extra=or_null):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | _Parts = Field("", description="may be left out beside tool_calls only")
    tool_calls: list[ToolCall] | None = Field(
        None, max_length=MAX_CALLS, description="an assistant's"
    )
    tool_call_id: str | None = Field(None, max_length=200, description="which call a tool answers")
    name: str | None = Field(None, max_length=128, description="a tool's")

    @field_validator("role")
    @classmethod
    def _developer_is_system(cls, role: str) -> str:
        return "system" if role == "developer" else role

    @property
    def text(self) -> str:
        """Its parts as one text, joined as vLLM joins them."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)

    def as_json(self) -> Message:
        """As the store keeps it."""
        message: Message = {"role": self.role, "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = [call.as_json() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            message["name"] = self.name
        return message

    def for_engine(self) -> Message:
        """The same, its content in parts where it came so."""
        if isinstance(self.content, str):
            return self.as_json()
        return {**self.as_json(), "content": [part.model_dump() for part in self.content]}
