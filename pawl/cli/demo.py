"""``pawl demo``: the whole loop on a made-up organisation."""

from __future__ import annotations

from pathlib import Path

import click

from pawl.cli.connect import flags_of, group_arguments, settings_of
from pawl.cli.output import echo, say_progress

STATE_DIR = Path(".pawl-demo")


@click.command("demo")
@click.option(
    "--items", type=click.IntRange(min=20), default=300, show_default=True,
    help="Random items of each benchmark.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Who is careless when.")
@click.option("--suite", help="Benchmarks of the gate: a built-in suite or a folder.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Official benchmarks laid out as on the hub, instead of the hub.",
)  # fmt: skip
@click.pass_context
def demo_command(
    ctx: click.Context, items: int, seed: int, suite: str | None, data_dir: Path | None
) -> None:
    """People correct what the model invents, a night learns it, they ask again.

    Everything is kept in .pawl-demo (or --state-dir); an earlier demonstration is moved aside.
    Exit code 0 when the night's adapter was promoted, 1 otherwise.
    """
    from refine.demo.page import describe, is_promoted
    from refine.demo.run import PAGE, run_demo

    gate = {
        "gate.n_items_per_benchmark": items,
        "gate.suite": suite,
        "gate.data_dir": data_dir.resolve() if data_dir else None,
    }
    arguments = [
        word
        for key, value in gate.items()
        if value is not None
        for word in ("--set", f"{key}={value}")
    ] + group_arguments(ctx)
    state_dir = None if flags_of(ctx)["state_dir"] else STATE_DIR
    settings = settings_of(ctx, {"state_dir": state_dir})
    result = run_demo(settings, seed=seed, arguments=arguments, say=say_progress)
    echo(describe(result, settings.state_dir / PAGE))
    ctx.exit(0 if is_promoted(result) else 1)
