"""The one class of errors that a user can mend: what, why, what to do, can trying again help.

Its code is free text; the HTTP status of each is in ``serve/api/errors.py``.

Such an error prints as one line; anything else keeps its traceback.
"""

_MOST_CHARACTERS = 2000  # of what somebody sent, said back to them


class PawlError(Exception):
    """Something came that can't be handled, said so that the reader knows what to do.

    The message is ``what: why. Do: what to do.`` in plain words.

    Args:
        what: what came ("model folder ./llama has no chat template").
        why: why it can't be ("chat requests could not be turned into prompts").
        do: what to type or change.
        code: the short machine-readable name. ``serve.api.errors`` gives each its HTTP status.
        param: the request field at fault, if one is.
        retryable: the same call may succeed later, with nothing changed in it.
        retry_after_seconds: when to try again, where that is known.
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        do: str = "",
        *,
        code: str = "invalid_request",
        param: str | None = None,
        retryable: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.what = what
        self.why = why
        self.do = do
        self.code = code
        self.param = _bounded(param) if param is not None else None
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        text = _bounded(what)
        if why:
            text += f": {_bounded(why).removesuffix('.')}"
        if do:
            text += f". {do}"
        super().__init__(text if text.endswith((".", "!", "?")) else text + ".")


def short(value: object, n_characters: int = 80) -> str:
    """A value for a message: as Python writes it, cut off when it is long."""
    text = repr(value)
    return text if len(text) <= n_characters else text[: n_characters - 3] + "..."


def _bounded(text: str) -> str:
    """Neither a megabyte that came nor half a character can spoil the message about it."""
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS - 300]} ... {text[-200:]}"
    return text.encode("utf-8", "backslashreplace").decode()
