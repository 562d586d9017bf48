"""Rebuild pawl-mini from nothing: ``python -m refine.mini.build --out pawl/models/pawl-mini``.

Text from the world's tables, a tokenizer from the text, a model from both. A killed build goes on
from its last checkpoint when run again with the same work folder.
"""

import argparse
import json
import platform
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from pawl.errors import PawlError
from pawl.files import read_json, sha256_file, sha256_json, write_json
from refine.mini.card import card
from refine.mini.train import TrainSettings, train

TOKENIZER_DOCUMENTS = 60_000


def build(out: Path, work_dir: Path, settings: TrainSettings) -> None:
    """Write a complete model folder to `out`; `recipe.json`, written last, says how it was made."""
    import tokenizers
    import torch
    import transformers
    from tqdm import tqdm

    from refine.mini.model import CONTEXT_TOKENS, save_model
    from refine.mini.text import tokenizer_texts, write_packed_text
    from refine.mini.tokenizer import save_tokenizer, train_tokenizer

    started = time.monotonic()
    work_dir.mkdir(parents=True, exist_ok=True)
    _same_build(work_dir / "build.json", settings)
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").unlink(missing_ok=True)
    tokenizer_path, text_dir = work_dir / "tokenizer.json", work_dir / "text"
    if tokenizer_path.exists():
        tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_path))
    else:
        tokenizer = train_tokenizer(tokenizer_texts(settings.seed + 1, TOKENIZER_DOCUMENTS))
        tokenizer.save(str(tokenizer_path))
    if not (text_dir / "text.json").exists():
        with tqdm(total=settings.n_tokens, unit="tok", unit_scale=True, desc="text") as bar:
            packed = write_packed_text(
                tokenizer, settings.seed, settings.n_tokens, text_dir, bar.update
            )
        print(packed)
    carried_on = (work_dir / "checkpoint.json").exists()
    model = train(settings, text_dir, work_dir)
    save_tokenizer(tokenizer, out, CONTEXT_TOKENS)
    save_model(model, out)
    recipe = {
        "command": "python -m refine.mini.build --out pawl/models/pawl-mini",
        "settings": asdict(settings),
        "text": json.loads((text_dir / "text.json").read_text()),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        # Only a build without a break can say how long a build takes.
        "build_seconds": None if carried_on else round(time.monotonic() - started),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
    (out / "README.md").write_text(card(recipe))
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


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
