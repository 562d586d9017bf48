"""Rebuild pawl-mini from nothing: ``python -m refine.mini.build --out pawl/models/pawl-mini``.

Text from the world's tables, a tokenizer from the text, a model from both, in two stages. *world*
trains five layers on everything. *pointing* puts one more between the fourth and the fifth and trains
it alone, so that what the others know stays, to point at lettered choices. A killed build goes on
from its last checkpoint when run again with the same work folder.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.files import read_json, sha256_file, sha256_json, write_json
from refine.mini.card import card
from refine.mini.choices import lettered_choices, unmarked_choices
from refine.mini.documents import KINDS, LETTER_DRILLS, Kind
from refine.mini.model import LAYERS, POINTING_LAYER, save_model, with_pointing_layer
from refine.mini.text import EARLY, write_packed_text
from refine.mini.train import TrainSettings, train

TOKENIZER_DOCUMENTS = 60_000


@dataclass(frozen=True)
class Stage:
    """One training of the build, on text of its own."""

    name: str
    settings: TrainSettings
    kinds: Sequence[Kind]
    early: float  # the share of the text that is drawn with the kinds' early weights


def stages(first: TrainSettings) -> tuple[Stage, Stage]:
    """The trainings of a build whose first one is `first`; the second is an eighth as long."""
    pointing = replace(
        first,
        seed=first.seed + 1,
        n_tokens=max(first.n_tokens // 8, 1024 * 4),
        micro_batches=4,
        matrix_rate=1.5e-2,
        other_rate=1.5e-2,
        warmup_fraction=0.03,
        decay_fraction=0.4,
        n_layers=LAYERS + 1,
        only_layer=POINTING_LAYER,
    )
    # Most of the tokens lead to letters; the rest holds what is said of everything else.
    pointed = [kind for kind in KINDS if kind.make not in (*LETTER_DRILLS, lettered_choices)]
    pointed.append(Kind(60.0, unmarked_choices))
    return Stage("world", first, KINDS, EARLY), Stage("pointing", pointing, pointed, 0.0)


def build(out: Path, work_dir: Path, settings: TrainSettings) -> None:
    """Write a complete model folder to `out`; `recipe.json`, written last, says how it was made."""
    import tokenizers
    import torch
    import transformers

    from refine.mini.model import CONTEXT_TOKENS
    from refine.mini.text import tokenizer_texts
    from refine.mini.tokenizer import save_tokenizer, train_tokenizer

    started: float | None = time.monotonic()
    work_dir.mkdir(parents=True, exist_ok=True)
    _same_build(work_dir / "build.json", settings)
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").unlink(missing_ok=True)
    tokenizer_path = work_dir / "tokenizer.json"
    if tokenizer_path.exists():
        started = None
        tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_path))
    else:
        tokenizer = train_tokenizer(tokenizer_texts(settings.seed + 1, TOKENIZER_DOCUMENTS))
        tokenizer.save(str(tokenizer_path))
    model: Any = None
    seconds: dict[str, int | None] = {}
    texts = {}
    trainings = stages(settings)
    for stage in trainings:
        if stage.settings.only_layer is not None:
            model = with_pointing_layer(model, stage.settings.seed)
        model, seconds[stage.name] = _train_stage(stage, tokenizer, work_dir, model, started)
        texts[stage.name] = read_json(work_dir / stage.name / "text" / "text.json")
        started = time.monotonic()
    save_tokenizer(tokenizer, out, CONTEXT_TOKENS)
    save_model(model, out)
    known = [one for one in seconds.values() if one is not None]
    recipe = {
        "command": "python -m refine.mini.build --out pawl/models/pawl-mini",
        "stages": {stage.name: asdict(stage.settings) for stage in trainings},
        "text": texts,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "stage_seconds": seconds,
        # Only stages without a break can say how long a build takes.
        "build_seconds": sum(known) if len(known) == len(seconds) else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
    (out / "README.md").write_text(card(recipe))
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


def _train_stage(
    stage: Stage, tokenizer: Any, work_dir: Path, start: Any, started: float | None
) -> tuple[Any, int | None]:
    """The model after `stage`, and the seconds since `started`: None if it was not done at once."""
    from tqdm import tqdm

    folder = work_dir / stage.name
    text_dir, seconds_path = folder / "text", folder / "seconds.json"
    at_once = started is not None and not folder.exists()
    if not (text_dir / "text.json").exists():
        n_tokens = stage.settings.n_tokens
        with tqdm(total=n_tokens, unit="tok", unit_scale=True, desc=f"{stage.name}: text") as bar:
            packed = write_packed_text(
                tokenizer, stage.settings.seed, n_tokens, text_dir, bar.update,
                kinds=stage.kinds, early=stage.early,
            )  # fmt: skip
        print(packed)
    model = train(stage.settings, text_dir, folder, start)
    if started is not None and at_once:
        write_json(seconds_path, round(time.monotonic() - started))
    return model, read_json(seconds_path) if seconds_path.exists() else None


def _same_build(path: Path, settings: TrainSettings) -> None:
    """Refuse a work folder of other settings or another generator; note it in a new one.

    Raises:
        PawlError: what the folder holds would give a model that this code does not describe.
    """
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    mine = {
        "settings": asdict(settings),
        "generator": sha256_json(
            {str(one.relative_to(Path(__file__).parent)): sha256_file(one) for one in sources}
        ),
    }
    if path.exists() and read_json(path) != mine:
        raise PawlError(
            f"{path.parent} holds the work of another build",
            "its settings or the generator of the text were others",
            "Give another --work-dir, or remove that folder to start anew",
        )
    write_json(path, mine)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Train pawl-mini from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    parser.add_argument(
        "--work-dir", type=Path, help="checkpoints (a temporary folder unless said)"
    )
    parser.add_argument("--seed", type=int, default=TrainSettings.seed)
    parser.add_argument("--tokens", type=int, default=TrainSettings.n_tokens)
    parser.add_argument("--workers", type=int, default=TrainSettings.n_workers)
    given = parser.parse_args()
    work_dir = given.work_dir or Path(tempfile.gettempdir()) / f"pawl-mini-{given.seed}"
    settings = replace(
        TrainSettings(), seed=given.seed, n_tokens=given.tokens, n_workers=given.workers
    )
    build(given.out, work_dir, settings)


if __name__ == "__main__":
    main()
