"""What can be checked before a night begins: settings that its end would stumble over."""

from __future__ import annotations

from evals.gate import gate_rules
from evals.suites import choose
from feedback.champion import BASE_VERSION
from pawl.adapters import MANIFEST, read_manifest
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings


def check_settings(settings: Settings, base: BaseModel) -> None:
    """Say now what would otherwise end the night after hours of training.

    Raises:
        PawlError: the base can't be trained, the suite can't be had or its margins contradict
            the settings, or ``gate.anchor`` is no version that can be scored on this base.
    """
    base.check.refuse("train", base.name)
    suite, _ = choose(settings.gate)
    gate_rules(settings.gate, suite)
    anchor = settings.gate.anchor
    if anchor == BASE_VERSION:
        return
    folder = settings.adapters_dir / anchor
    if not (folder / MANIFEST).exists():
        known = sorted(path.parent.name for path in settings.adapters_dir.glob(f"*/{MANIFEST}"))
        raise PawlError(
            f"gate.anchor is {anchor!r}",
            f"{settings.adapters_dir} holds no such version",
            f"Set gate.anchor to one of: {', '.join([BASE_VERSION, *known])}",
        )
    if read_manifest(folder).base_fingerprint != base.fingerprint:
        raise PawlError(
            f"gate.anchor is {anchor!r}",
            f"it was trained on another base than {base.name}",
            f"Set gate.anchor to {BASE_VERSION!r} or to a version of this base",
        )
