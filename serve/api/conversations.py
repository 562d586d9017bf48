"""``GET /v1/conversations/{conversation_id}``: what was said in it, for who took part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feedback.conversations import thread
from pawl.errors import PawlError

if TYPE_CHECKING:
    from feedback.store import Store


def read_conversation(store: Store, conversation_id: str, rater_id: str) -> dict[str, Any]:
    """The conversation as it stands for one person; waits for the store.

    Returns:
        ``{"conversation_id", "messages": [{"role", "content"}, ...]}``; an answer that was
        recorded here also has ``completion_id, choice_index, version, status`` and ``feedback``:
        what counts of this person's words on it, or None.

    Raises:
        PawlError: this person has no answer in a conversation of that id
            (``conversation_not_found``).
    """
    completions = store.completions(None, conversation_id=conversation_id, rater_id=rater_id)
    if not completions:
        raise PawlError(
            f"conversation {conversation_id!r} is not known",
            "no answer to this person was recorded in it",
            "Check the id, and X-Pawl-Rater or the key",
            code="conversation_not_found",
            param="conversation_id",
        )
    ids = sorted({row.completion_id for row in completions})
    feedback = {
        (row.completion_id, row.choice_index): row.as_json()
        for row in store.current_feedback(ids, rater_id)
    }
    messages: list[dict[str, Any]] = []
    for message, completion in thread(completions):
        messages.append(dict(message))
        if completion is not None:
            messages[-1] |= {
                "completion_id": completion.completion_id,
                "choice_index": completion.choice_index,
                "version": completion.version,
                "status": completion.status,
                "feedback": feedback.get((completion.completion_id, completion.choice_index)),
            }
    return {"conversation_id": conversation_id, "messages": messages}
