"""A stage's trainer as a plugin changes it (``train.trainer``), checked before it trains."""

from __future__ import annotations

from typing import Any

from pawl.errors import PawlError, short
from pawl.plugins import load, place_of


def configured(
    name: str,
    kind: str,
    trainer: type,
    config_class: Any,
    arguments: dict[str, Any],
    ours: dict[str, Any],
) -> tuple[Any, Any]:
    """The trainer's class and its config.

    Args:
        name: of the plugin.
        kind: of the stage.
        trainer: the class as Pawl has it.
        config_class: TRL's.
        arguments: of the config, which the plugin may change.
        ours: those that it may not.

    Raises:
        PawlError: it failed, gave something else, or TRL's config does not take what it gave.
    """
    plugin = load("trainer", name)
    problem = ""
    try:
        found = plugin.part.configure(kind, trainer, dict(arguments))
        problem = _problem(found, trainer, ours)
        if not problem:
            return found[0], config_class(**ours, **found[1])
    except (Exception, SystemExit) as err:
        problem = f"{type(err).__name__}: {err} ({place_of(err)})"
    raise PawlError(
        f"the trainer {plugin} can't train {kind}",
        problem,
        "Mend that package, or leave train.trainer out",
        code="plugin",
    )


def _problem(found: Any, trainer: type, ours: dict[str, Any]) -> str:
    """What is wrong with what a plugin gave; empty: nothing."""
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
        return f"configure() gives {short(found)}, not a trainer and a dict of arguments"
    if not (isinstance(found[0], type) and issubclass(found[0], trainer)):
        return f"configure() gives {short(found[0])}, no subclass of the trainer that it was given"
    if taken := sorted(set(found[1]) & set(ours)):
        return f"configure() sets {', '.join(taken)}, which the plan and Pawl decide"
    return ""
