"""SFT as anyone would write it with TRL: python -m benchmarks.trl_stock ROWS MODEL OUT JSON

``ROWS`` is JSON lines of ``prompt`` and ``completion``, each a list of messages; JSON has
``n_epochs``, ``learning_rate``, ``rank``, ``alpha`` and ``seed``. All else is by default, but for
bf16 on a CPU without it: there a step takes 99 s (2 cores, AMD EPYC with AVX2 alone).
Prints ``{"seconds": ...}``, of the training alone, and leaves the adapter in ``OUT``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main(rows: Path, model: str, out: str, options: dict[str, float]) -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from refine.trainer import use_bf16

    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=out,
            num_train_epochs=options["n_epochs"],
            learning_rate=options["learning_rate"],
            seed=int(options["seed"]),
            bf16=use_bf16(torch),
            save_strategy="no",
            report_to="none",
            use_cpu=not torch.cuda.is_available(),  # which it does not find out
        ),
        train_dataset=Dataset.from_list([json.loads(line) for line in rows.open(encoding="utf-8")]),
        peft_config=LoraConfig(
            r=int(options["rank"]), lora_alpha=options["alpha"], target_modules="all-linear"
        ),
    )
    result = trainer.train()
    trainer.save_model(out)
    print(json.dumps({"seconds": result.metrics["train_runtime"]}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("options", type=json.loads)
    args = parser.parse_args()
    main(args.rows, args.model, args.out, args.options)
