"""Errors that a user can mend. They print as one line; anything else keeps its traceback."""

_MOST_CHARACTERS = 2000  # of what somebody sent, said back to them


class PawlError(Exception):
    """Something came that can't be handled, said so that the reader knows what to do.

    The message is ``what: why. Do: what to do.`` in plain words.

    Args:
        what: what came ("model folder ./llama has no chat template").
        why: why it can't be ("chat requests could not be turned into prompts").
        do: what to type or change.
        status: the HTTP status that a server answers with, 400 unless said.
        code: the short machine-readable name in OpenAI-shaped errors.
        param: the request field at fault, if one is.
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        do: str = "",
        *,
        status: int = 400,
        code: str = "invalid_request",
        param: str | None = None,
    ) -> None:
        self.what = what
        self.why = why
        self.do = do
        self.status = status
        self.code = code
        self.param = param
        text = _bounded(what)
        if why:
            text += f": {_bounded(why).removesuffix('.')}"
        if do:
            text += f". {do}"
        super().__init__(text if text.endswith((".", "!", "?")) else text + ".")

    def as_openai(self) -> dict[str, object]:
        """The body of an OpenAI-shaped error answer: ``{"error": {...}}``."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        param = _bounded(self.param) if self.param is not None else None
        return {"error": {"message": str(self), "type": kind, "param": param, "code": self.code}}


def short(value: object, n_characters: int = 80) -> str:
    """A value for a message: as Python writes it, cut off when it is long."""
    text = repr(value)
    return text if len(text) <= n_characters else text[: n_characters - 3] + "..."


def _bounded(text: str) -> str:
    """Neither a megabyte that came nor half a character can spoil the message about it."""
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS - 300]} ... {text[-200:]}"
    return text.encode("utf-8", "backslashreplace").decode()
