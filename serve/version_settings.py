"""Versions of a system prompt and sampling: the base, or an adapter that stands, asked otherwise.

Such a version has no weights of its own. Its row of ``version_settings`` says whose weights answer
and what they are asked with; it is checked here, before it has a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feedback.champion import BASE_VERSION
from pawl.adapters import read_manifest
from pawl.base_checks import read_tokenizer
from pawl.errors import PawlError
from pawl.files import sha256_json
from pawl.models import BaseModel
from pawl.schemas import PromotionRequest, VersionSettings, utc_now
from pawl.settings import Settings

if TYPE_CHECKING:
    from feedback.store import Store

PROMPT_SHARE = 0.5  # of the context, at most: the rest is the conversation's and the answer's


def made_of(
    request: PromotionRequest, made_by: str, *, base: BaseModel, store: Store, settings: Settings
) -> VersionSettings:
    """The version of this system prompt and sampling: the one that has exactly these, else a new
    one, which is recorded. Waits for the store.

    Raises:
        PawlError: there is neither, or they can't be served with this base.
    """
    weights, inherited = _standing_on(request.on or BASE_VERSION, store, settings)
    own = None if request.system_prompt is None else request.system_prompt.strip()
    prompt = own or (inherited.system_prompt if inherited else None)
    sampling = {**(inherited.sampling if inherited else {}), **request.sampling()}
    n_context = settings.engine.max_model_len_tokens or base.max_length_tokens
    if own is not None:
        _check_prompt(own, base, n_context)
    n_prompt = _n_tokens(prompt, base) if prompt is not None else 0
    if "max_tokens" in sampling and sampling["max_tokens"] + n_prompt >= n_context:
        raise _refuse(
            "max_tokens", f"max_tokens is {sampling['max_tokens']}",
            f"the context has {n_context} tokens, and the system prompt takes {n_prompt}, so each "
            "request without its own would be refused", "Lower it",
        )  # fmt: skip
    fingerprint = _fingerprint(weights, base, prompt, sampling, settings)
    for row in store.all_version_settings():
        if row.fingerprint == fingerprint:
            return row
    row = VersionSettings(
        version=f"pawl@{store.next_version()}", created_at=utc_now(), made_by=made_by,
        weights=weights, base_fingerprint=base.fingerprint, system_prompt=prompt,
        sampling=sampling, fingerprint=fingerprint,
    )  # fmt: skip
    store.append_version_settings(row).result()
    return row


def keep_settings(
    version: str, of: str, made_by: str, *, base: BaseModel, store: Store, settings: Settings
) -> None:
    """Record that an adapter that was copied to its place has another version's prompt and
    sampling, with which it was trained and scored. Waits for the store.

    Raises:
        PawlError: the other version has none.
    """
    other = settings_of(of, store)
    fingerprint = _fingerprint(version, base, other.system_prompt, other.sampling, settings)
    row = VersionSettings(
        version=version, created_at=utc_now(), made_by=made_by, weights=version,
        base_fingerprint=base.fingerprint, system_prompt=other.system_prompt,
        sampling=other.sampling, fingerprint=fingerprint,
    )  # fmt: skip
    store.append_version_settings(row).result()


def settings_of(version: str, store: Store) -> VersionSettings:
    """The recorded version that a request names. Raises PawlError: there is none."""
    row = store.version_settings(version)
    if row is None:
        raise PawlError(
            f"{version} was made of no system prompt or sampling",
            "an adapter is promoted by its run, and one that was champion by a rollback",
            "'pawl history' lists the versions",
            code="unknown_version",
            param="version",
        )
    return row


def _standing_on(
    version: str, store: Store, settings: Settings
) -> tuple[str, VersionSettings | None]:
    """Whose weights a version has, and what it is asked with itself."""
    weights = store.weights_of(version)
    if weights != BASE_VERSION and not (settings.adapters_dir / weights).is_dir():
        raise PawlError(
            f"{version} is no version that stands here",
            f"{settings.adapters_dir} has no {weights}",
            "'pawl history' lists the versions; 'base' is one always",
            code="unknown_version",
            param="on",
        )
    return weights, store.version_settings(version)


def _fingerprint(
    weights: str, base: BaseModel, prompt: str | None, sampling: dict[str, Any], settings: Settings
) -> str:
    """A hash of all that decides an answer."""
    adapter = None
    if weights != BASE_VERSION:
        adapter = read_manifest(settings.adapters_dir / weights).fingerprint
    content = {
        "base_fingerprint": base.fingerprint, "adapter": adapter, "system_prompt": prompt,
        "sampling": sampling,
    }  # fmt: skip
    return "sha256:" + sha256_json(content)


def _check_prompt(prompt: str, base: BaseModel, n_context: int) -> None:
    """Make sure that a system prompt says something, and that the base reads it as one text of
    bounded length."""
    from feedback.targets import control_tokens, shows_nothing

    if shows_nothing(prompt):
        codes = ", ".join(f"U+{ord(one):04X}" for one in sorted(set(prompt))[:3])
        raise _refuse(
            "system_prompt",
            f"the system prompt holds nothing to be seen, but {codes}" if codes
            else "the system prompt is empty",
            "it would say nothing", "Write one, or leave it out",
        )  # fmt: skip
    if not base.check.supports_system:
        raise _refuse(
            "system_prompt", f"the chat template of {base.name} takes no system message",
            "each chat would be refused", "Choose another base, or say it in a training row",
        )  # fmt: skip
    if found := control_tokens(base.model_dir).search(prompt):
        raise _refuse(
            "system_prompt", f"the system prompt holds {found[0]!r}",
            "it is a control token of a chat template, and would end or begin a message",
            "Leave it out",
        )  # fmt: skip
    n_tokens = _n_tokens(prompt, base)
    if n_tokens > n_context * PROMPT_SHARE:
        raise _refuse(
            "system_prompt", f"the system prompt has {n_tokens:,} tokens",
            f"of a context of {n_context:,} it may take {PROMPT_SHARE:.0%}, the rest is the "
            "conversation's", "Shorten it",
        )  # fmt: skip


def _n_tokens(text: str, base: BaseModel) -> int:
    return len(read_tokenizer(base.model_dir).encode(text, add_special_tokens=False).ids)


def _refuse(param: str, what: str, why: str, do: str) -> PawlError:
    return PawlError(what, why, do, code="invalid_value", param=param)
