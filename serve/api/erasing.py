"""The /admin routes of erasing, of retention and of backups."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from pawl.chat_template import load_tokenizer
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import (
    Erasure,
    ErasurePreview,
    ErasureRequest,
    NoFields,
    RetentionCounts,
    RetentionRequest,
    StoreCopy,
)
from pawl.settings import Settings
from serve.api.auth import caller_of
from serve.api.bodies import JsonRoute

if TYPE_CHECKING:
    from feedback.erased_files import Decode
    from feedback.store import Store

_log = logging.getLogger("pawl.admin")


def erasing_routes(settings: Settings, base: BaseModel, store: Store) -> APIRouter:
    router = APIRouter(prefix="/admin", route_class=JsonRoute, tags=["admin"])

    @router.post("/erasures/preview")
    def preview_erasure(body: ErasureRequest) -> ErasurePreview:
        """What erasing a person would erase; nothing is done."""
        from feedback.erasing import preview

        return ErasurePreview(**preview(store, settings, _user_of(store, body)))

    @router.post("/erasures")
    def erase(request: Request, body: ErasureRequest) -> Erasure:
        """Erase what a person asked and said from everything that Pawl keeps; answers the
        certificate. An account or key of the name is removed first. Writers and readers wait for
        moments."""
        from feedback.erasing import forget

        user, asked_by = _user_of(store, body), caller_of(request.scope).name
        return Erasure(**forget(store, settings, user, asked_by, decode=decoder(base)))

    @router.get("/erasures")
    def list_erasures() -> list[Erasure]:
        """The certificates, oldest first; they don't name the person."""
        from feedback.erasing import certificates

        return [Erasure(**one) for one in certificates(settings.state_dir)]

    @router.post("/retention")
    def retain(body: RetentionRequest) -> RetentionCounts:
        """Erase what is older than `retention.*` says; a night asks for it as it begins."""
        from feedback.retention import erase_by_age

        counts = RetentionCounts(**erase_by_age(store, settings, decoder(base), body.of_night))
        _log.info("retention: %s", counts)
        return counts

    @router.post("/backup")
    def copy(body: NoFields) -> StoreCopy:
        """Copy the store as of now into a folder of the state folder, for `pawl backup`."""
        from feedback.backup import copy_store

        return StoreCopy(**copy_store(store, settings.state_dir))

    return router


def carry_on(settings: Settings, base: BaseModel, store: Store) -> None:
    """Know whom earlier erasings forgot, and finish one that a kill interrupted; one that can't be
    finished does not keep a server from starting, and is tried again by the next."""
    from feedback import erasing

    try:
        erasing.recall(store, settings.state_dir)
    except Exception:
        _log.exception("a certificate can't be read: what other gateways bring of its person comes")
    try:
        erasing.carry_on(store, settings, decode=decoder(base))
    except Exception:
        _log.exception("an interrupted erasing could not be finished; 'pawl forget' tries again")


def decoder(base: BaseModel) -> Any:
    """How token ids of a base, named by its fingerprint, become text; None for another base."""

    def find(fingerprint: str) -> Decode | None:
        return None if fingerprint != base.fingerprint else _decode(base.model_dir)

    return find


def _decode(model_dir: Path) -> Decode:
    path = model_dir / "tokenizer.json"
    if path.exists():  # without transformers, which takes seconds to import
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=False))
    slow = load_tokenizer(model_dir)
    return lambda ids: str(slow.decode(ids))


def _user_of(store: Store, body: ErasureRequest) -> str:
    from feedback.erased_rows import owner_of

    if (body.user is None) == (body.conversation_id is None):
        raise PawlError(
            "an erasing takes either user or conversation_id",
            "each names one person",
            "Send one of them",
            param="user",
        )
    return body.user if body.user is not None else owner_of(store, str(body.conversation_id))
