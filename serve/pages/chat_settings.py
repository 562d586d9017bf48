"""What a conversation is asked with, and presets of that: what the dialog of settings asks for.

``assets/settings.js`` shows the dialog, sends commands as JSON in a hidden text box, and reads the
reply from a hidden element.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pawl.errors import PawlError
from pawl.schemas import ChatSettings
from serve.pages.api import Api
from serve.pages.conversation import Conversation
from serve.pages.texts import of_the_server, say, told

_NAMES = ("system_prompt", "temperature", "max_tokens", "model", "name")


class _Command(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Show(_Command):
    do: Literal["show"]


class Keep(_Command):
    do: Literal["keep"]
    settings: ChatSettings


class KeepPreset(_Command):
    do: Literal["preset"]
    name: str
    settings: ChatSettings


class DeletePreset(_Command):
    do: Literal["delete"]
    name: str


_COMMANDS: TypeAdapter[Any] = TypeAdapter(
    Annotated[Show | Keep | KeepPreset | DeletePreset, Field(discriminator="do")]
)


async def answer(
    text: str, conversation: Conversation, versions: list[tuple[str, str]], api: Api
) -> dict[str, Any]:
    """Do what the dialog asks for; the reply to it. ``problem``: why it was not done.

    Args:
        versions: (what is shown, the name) of each that may be chosen.
    """
    try:
        command = _COMMANDS.validate_json(text)
    except ValidationError as err:
        return {"problem": _refusal(err)}
    try:
        if isinstance(command, Show):
            found = await api.get("/v1/presets")
            settings = {"model": "pawl", **conversation.settings}
            return {"settings": settings, "versions": versions, **found}
        if isinstance(command, Keep):
            await keep(conversation, command.settings.given(), api)
            return {"kept": conversation.conversation_id}
        body: dict[str, Any] = {"name": command.name, "deleted": True}
        if isinstance(command, KeepPreset):
            body = {"name": command.name, "settings": command.settings.given()}
        return {**await api.post("/v1/presets", body), "chosen": command.name.strip()}
    except PawlError as err:
        return {"problem": told(err)}


async def keep(conversation: Conversation, settings: dict[str, Any], api: Api) -> None:
    """Ask this conversation with these settings from now on, on each open page of its person, and
    note that. Raises PawlError: it could not be noted; then all is as before."""
    settings = {name: one for name, one in settings.items() if (name, one) != ("model", "pawl")}
    before, conversation.settings = conversation.settings, settings
    try:
        path = f"/v1/conversations/{conversation.conversation_id}"
        await api.post(path, {"settings": settings})
    except PawlError:
        conversation.settings = before
        raise


def label(settings: dict[str, Any]) -> str:
    """What the button says: which of the settings are a person's own."""
    own = [say("settings.own_prompt")] if "system_prompt" in settings else []
    if "temperature" in settings:
        own += [say("settings.own_temperature", value=f"{settings['temperature']:g}")]
    if "max_tokens" in settings:
        own += [say("settings.own_tokens", value=str(settings["max_tokens"]))]
    return say("settings.own", which=", ".join(own)) if own else say("page.settings")


def _refusal(err: ValidationError) -> str:
    fault = err.errors()[0]
    names = [str(part) for part in fault["loc"] if str(part) in _NAMES]
    why = fault["msg"]
    with suppress(LookupError, ValueError):  # a text that names a value which this fault has not
        why = of_the_server("validation", fault["type"], why).format(**fault.get("ctx", {}))
    return say(f"settings.{names[-1] if names else 'this'}", why=why)
