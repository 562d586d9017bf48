"""Adapters of random noise against flagged prompts of the real model, through the gate.

    python -m benchmarks.noise [--adapters 8] [--flagged 120] [--controls 100] [--like ADAPTER_DIR]

The base answers questions of the everyday suite and of the demonstration's organisation. What it
says wrong is flagged, with the right answer as its correction; what it says right are answers that
nobody flagged. Random changes of three sizes (half, as large, twice as large in each layer as a
real night's) are challengers in turn, with the others of their size as placebos. Benchmarks are
scored only for what people's prompts let through, since both must pass.

Leaves ``benchmarks/gate_scores.json``: each prompt's change by each adapter, numbers alone, from
which ``benchmarks.gate`` simulates nights.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gate import SCORES
from benchmarks.measurements import finish
from evals import placebo
from evals.gate import decide, gate_rules
from evals.matching import match
from evals.people import changes
from evals.placebo import Size
from evals.regression import PLACEBO, answers_of, score_rows
from evals.score import score_benchmarks
from evals.suites import load
from pawl.chat_template import load_tokenizer
from pawl.files import write_json
from pawl.models import resolve_model
from pawl.schemas import ItemScore, TrainingRow
from pawl.settings import GateSettings
from pawl.text import normalise
from refine.demo.organisation import load_organisation

# The Frobenius norm of a layer's change over that of its weights: the mean over the layers of the
# adapter that `make demo` promotes (rank 16, 5 minutes of SFT on 2 cores).
REAL_SHARE = 0.014
MULTIPLES = (0.5, 1.0, 2.0)
MAX_TOKENS = 48  # of a base's answer; longer ones are left out, to be quick


def questions() -> Iterator[tuple[str, str]]:
    """Question and right answer, in a random order that is always the same."""
    suite = load("everyday")
    found = []
    with (suite.folder / "arc.jsonl").open(encoding="utf-8") as file:
        seen = set()
        for line in file:
            row = json.loads(line)
            if row["fact"] not in seen:
                seen.add(row["fact"])
                right = row["choices"]["text"][row["choices"]["label"].index(row["answerKey"])]
                found.append((row["question"], right))
    for fact in load_organisation().facts:
        found += [(text, fact.answer) for text in fact.day]
    random.Random(0).shuffle(found)
    yield from found


def rows_of(scorer: Any, tokenizer: Any, n_flagged: int, n_controls: int) -> list[TrainingRow]:
    """Ask the base until there are enough of both kinds."""
    from evals.generation import greedy_answers

    flagged: list[TrainingRow] = []
    controls: list[TrainingRow] = []
    asked = list(questions())
    for start in range(0, len(asked), 32):
        batch = asked[start : start + 32]
        prompts = [
            list(tokenizer.encode(
                tokenizer.apply_chat_template([{"role": "user", "content": question}],
                                              add_generation_prompt=True, tokenize=False),
                add_special_tokens=False))
            for question, _ in batch
        ]  # fmt: skip
        answers = greedy_answers(scorer.model, tokenizer, prompts, MAX_TOKENS)
        for i, ((question, right), (text, is_whole)) in enumerate(zip(batch, answers, strict=True)):
            row = TrainingRow(
                f"q{start + i}", "regression", f"g{start + i}", "holdout",
                [{"role": "user", "content": question}], origin={"rater_id": f"p{start + i}"},
            )  # fmt: skip
            if not is_whole or not text.strip():
                continue
            if f" {normalise(right)} " in f" {normalise(text)} ":
                controls.append(replace(row, kind="unpaired", completion=text, label=True))
            elif not match(text, right, "", question).matches:
                flagged.append(replace(row, chosen=right, rejected=text))
        print(f"{len(flagged)} flagged, {len(controls)} controls", flush=True)
        if len(flagged) >= n_flagged and len(controls) >= n_controls:
            break
    return flagged[:n_flagged] + controls[:n_controls]


def layers_like(scorer: Any, multiple: float, like: Path | None) -> dict[str, Size]:
    """Sizes of the noise by layer."""
    if like is not None:
        return {
            name: Size(size.norm * multiple, size.rank)
            for name, size in placebo.sizes(like, None).items()
        }
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return {
        name: Size(float(module.weight.norm()) * REAL_SHARE * multiple, 16)
        for name, module in scorer.model.named_modules()
        if name.endswith(kinds)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapters", type=int, default=8, help="of each size")
    parser.add_argument("--flagged", type=int, default=120)
    parser.add_argument("--controls", type=int, default=100)
    parser.add_argument("--like", type=Path, help="an adapter that says how large a layer's is")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    from evals.harness import Scorer

    started = time.monotonic()
    suite = load("everyday")
    rules = replace(gate_rules(GateSettings(), suite), controls_per_flag=1.0)
    figures: dict[str, object] = {}
    pools: dict[str, Any] = {}
    n_promoted = n_in_all = 0
    with tempfile.TemporaryDirectory(prefix="pawl-noise-") as folder:
        base = resolve_model(args.model, cache_dir=Path(folder))
        scorer = Scorer(base.model_dir, None, device="cpu", on_progress=lambda *_: None)
        tokenizer = load_tokenizer(base.model_dir)
        rows = rows_of(scorer, tokenizer, args.flagged, args.controls)

        def people(known: dict[str, Any]) -> list[ItemScore]:
            return score_rows(
                rows, logprobs=scorer.answer_logprobs, model=scorer.model, tokenizer=tokenizer,
                max_length_tokens=scorer.max_length, on_progress=lambda *_: None, known=known,
            )[0]  # fmt: skip

        before = people({})
        known = answers_of(before)
        for multiple in MULTIPLES:
            layers = layers_like(scorer, multiple, args.like)
            noise = []
            for number in range(args.adapters):
                with placebo.changed(scorer.model, layers, 1000 + number):
                    noise.append(people(known))
                print(f"size {multiple:g}, adapter {number + 1}: "
                      f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip
            passed = naive = 0
            for i, challenger in enumerate(noise):
                others = [
                    replace(item, benchmark=f"{PLACEBO}{k}")
                    for k, items in enumerate(noise)
                    if k != i
                    for item in items
                ]
                verdict = decide([*before, *others], challenger, rules, None)
                assert verdict.holdout is not None
                naive += verdict.holdout.n_improved > verdict.holdout.n_worsened
                if not verdict.holdout.passed:
                    continue
                passed += 1
                general = score_benchmarks(scorer, suite, 300, 0)
                with placebo.changed(scorer.model, layers, 1000 + i):
                    changed = score_benchmarks(scorer, suite, 300, 0)
                whole = decide([*before, *others, *general], [*challenger, *changed], rules, None)
                n_promoted += whole.outcome == "promote"
            n_in_all += len(noise)
            n_flagged = sum(row.kind == "regression" for row in rows)
            of_each = [changes(before[:n_flagged], one[:n_flagged]) for one in noise]
            controls = [changes(before[n_flagged:], one[n_flagged:]) for one in noise]
            pools[f"{multiple:g} times as large as a real night's"] = {
                "margins": [[round(x, 4) for x in one.margins.tolist()] for one in of_each],
                "matches": [one.matches.tolist() for one in of_each],
                "controls": [one.matches.tolist() for one in controls],
            }
            figures[f"{multiple:g} times as large"] = (
                f"{passed} of {len(noise)} let through by people's prompts; {naive} fixed more "
                f"flagged prompts than they broke; mean change of the margin "
                f"{sum(one.margins.mean() for one in of_each) / len(noise):+.3f} nats; answers "
                f"fixed {sum((one.matches > 0).sum() for one in of_each) / len(noise):.1f} of "
                f"{n_flagged}, unflagged ones broken "
                f"{sum((one.matches < 0).sum() for one in controls) / len(noise):.1f} of "
                f"{len(rows) - n_flagged}"
            )
    figures["promoted by the whole gate"] = f"{n_promoted} of {n_in_all}"
    if not args.no_record:
        write_json(SCORES, {"model": args.model, "sizes": pools})
    missed = [f"{n_promoted} adapters of noise were promoted, bar 0"] if n_promoted else []
    if n_in_all < 20 or len(rows) - args.controls < 100:
        missed.append("fewer than 20 adapters or 100 flagged prompts")
    finish(
        "noise", "Adapters of random noise at the gate", figures, missed=missed,
        keep=not args.no_record,
        note=f"{base.name}, {n_flagged} flagged prompts and {len(rows) - n_flagged} unflagged "
        f"answers; {time.monotonic() - started:.0f} s.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
