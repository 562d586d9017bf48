"""What may become a training target: benchmark items, clean rows, and each detector's samples.

    python -m benchmarks.targets [--planted 200] [--clean 10000] [--show] [--no-record]

Three measurements. Items of the suites in use, as many of each data set, are planted as rows in
six ways (as published, with lettered choices, in other case and spacing, inside other text, in the
answer, a fifth of the words missing at the end); the bar is 99 % caught. Real rows, none of them
planted, are checked; the bar is under 1 % rejected wrongly. Each detector is run on its labelled
samples, which were written before it (``tests/feedback/detector_samples``).

The rows are those of ``../shared/feedback``; where they are too few, training splits of data sets
in ``../shared/benchmarks/hub`` that no suite here scores (school mathematics, sentences).
``REVIEWED`` names by hash the rejected rows that were read and do hold what they are rejected for.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from feedback.decontamination import data_files, folders_in_use, records_of
from feedback.rows import Lesson
from feedback.targets import Targets
from pawl.settings import GateSettings, Settings
from pawl.text import texts_of

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
HUB = SHARED / "benchmarks" / "hub"
FEEDBACK = ("dpo_en_demo.json", "kto_en_demo.json", "oasst_en_100_tree.jsonl")
MORE = ("openai/gsm8k/main/train-00000-of-00001.parquet",
        "allenai/winogrande/winogrande_xl/train-00000-of-00001.parquet")  # fmt: skip
# The row_id of each rejection that was read and is right, with what the row holds.
REVIEWED: dict[str, str] = {
    "0867b9e6f5bb6ac8": "a token of another template, left in the answer",
    "be1903e69a99d4ec": "asks an item of TruthfulQA word for word",
    "f510f8fb8cbb6949": "asks an item of TruthfulQA word for word",
    "66582efc6147a33b": "asks an item of TruthfulQA word for word, a turn before",
    "e1fb012d839568b8": "asks an item of TruthfulQA word for word, a turn before",
    "71dfd013fbc150a3": "an item of the test split with other numbers",
    "e080d587fb84e428": "an item of the test split with other numbers",
}


def planted(settings: Settings, n: int) -> Iterator[tuple[str, str, Lesson]]:
    """(data set, way, row) of ``n`` items, as many of each data set."""
    draw = random.Random(0)
    records: dict[str, list[dict[str, Any]]] = {}
    for folder in folders_in_use(settings):
        for path in data_files(folder):
            name = "/".join([folder.name, *path.relative_to(folder).parts[:2]])
            records.setdefault(name, []).extend(r for r in records_of(path) if _question(r))
    names = sorted(records)
    ways = sorted(WAYS)
    for i in range(n):
        name, way = names[i % len(names)], ways[i // len(names) % len(ways)]
        prompt, text = WAYS[way](draw.choice(records[name]))
        yield name, way, Lesson("sft", "c", [{"role": "user", "content": prompt}], completion=text)


def _question(record: dict[str, Any]) -> str:
    """The text that asks: the longest of the usual columns."""
    columns = ("question", "ctx", "ctx_a", "sentence", "query", "input", "prompt", "message")
    return max((str(record.get(column) or "") for column in columns), key=len)


def _choices(record: dict[str, Any]) -> list[str]:
    for value in record.values():
        texts = [text for text in texts_of(value) if len(text) > 1]
        if isinstance(value, list | dict) and len(texts) > 1:
            return texts[:5]
    return [str(record.get("answer", record.get("option1", "It is so.")))]


def _as_published(record: dict[str, Any]) -> tuple[str, str]:
    return _question(record), _choices(record)[0]


def _lettered(record: dict[str, Any]) -> tuple[str, str]:
    lines = [f"{letter}. {text}" for letter, text in zip("ABCDE", _choices(record), strict=False)]
    return "\n".join([f"Question: {_question(record)}", *lines, "Answer:"]), "B"


def _respelled(record: dict[str, Any]) -> tuple[str, str]:
    words = re.sub(r"[.,;:!?'\"]", " ", _question(record)).upper().split()
    return "  ".join(words), _choices(record)[0]


def _inside(record: dict[str, Any]) -> tuple[str, str]:
    question = _question(record)
    return f"My teacher gave us this one: {question} Can you help?", _choices(record)[0]


def _in_the_answer(record: dict[str, Any]) -> tuple[str, str]:
    return "Give me one exam question.", f"{_question(record)} {_choices(record)[0]}"


def _shortened(record: dict[str, Any]) -> tuple[str, str]:
    words = _question(record).split()
    kept = words[: -(len(words) // 5)] if len(words) >= 15 else words
    return " ".join(kept), _choices(record)[0]


WAYS = {
    "as published": _as_published,
    "with lettered choices": _lettered,
    "other case, no punctuation": _respelled,
    "inside other text": _inside,
    "in the answer": _in_the_answer,
    "a fifth missing": _shortened,
}


def clean(n: int) -> Iterator[tuple[str, Lesson]]:
    """(source, row) of ``n`` real rows."""
    from feedback.formats.read import parse

    count = 0
    for name in FEEDBACK:
        for lesson in parse((SHARED / "feedback" / name).read_bytes(), name).lessons:
            count += 1
            yield "feedback", lesson
    for path in MORE:
        for record in records_of(HUB / path):
            if count >= n:
                return
            count += 1
            question = record.get("question") or "Write a sentence for a reading test."
            answer = record["answer"] if "question" in record else record["sentence"]
            asked = [{"role": "user", "content": str(question)}]
            yield path.split("/")[1], Lesson("sft", f"c{count}", asked, completion=str(answer))


def of_detectors(show: bool) -> dict[str, str]:
    """Precision and recall of each, on all samples and on the odd half."""
    from feedback.detectors import detectors
    from tests.feedback.detector_samples.load import names, samples

    figures = {}
    for name in names():
        detector = detectors()[name]
        started = time.perf_counter()
        found = [(sample, detector.finds(sample.answer)) for sample in samples(name)]
        n_ms = (time.perf_counter() - started) / len(found) * 1000
        parts = []
        for title, some in (("all", found), ("odd half", [f for f in found if f[0].is_odd])):
            n_found = sum(is_found for _, is_found in some)
            n_right = sum(is_found and sample.label for sample, is_found in some)
            n_there = sum(sample.label for sample, _ in some)
            parts.append(
                f"{title} {len(some)}: precision {n_right / max(1, n_found):.2f}, "
                f"recall {n_right / n_there:.2f}"
            )
        figures[f"{name} (threshold {detector.threshold:g} {detector.unit})"] = (
            "; ".join(parts) + f"; {n_ms:.1f} ms"
        )
        for sample, is_found in found if show else ():
            if is_found != sample.label:
                mark = "found wrongly" if is_found else "missed"
                back = " (odd half)" if sample.is_odd else ""
                print(
                    f"{name}: {mark}{back}: {sample.answer.prompt!r} {sample.answer.text[:160]!r}"
                )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--planted", type=int, default=200)
    parser.add_argument("--clean", type=int, default=10_000)
    parser.add_argument("--show", action="store_true", help="print each mistake")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is absent: nothing was measured on real data.")
    figures: dict[str, object] = dict(of_detectors(args.show))
    missed = []
    with tempfile.TemporaryDirectory(prefix="pawl-targets-") as folder:
        gate = GateSettings(suite="official", data_dir=HUB)
        settings = Settings(state_dir=Path(folder), gate=gate)
        started = time.perf_counter()
        targets = Targets.of(settings)
        figures["items of the suites in use"] = (
            f"{len(targets.index.items):,}, read in {time.perf_counter() - started:.1f} s"
        )
        n_caught, n_planted, lost = 0, 0, Counter[str]()
        for name, way, lesson in planted(settings, args.planted):
            n_planted += 1
            finding = targets.reason_against(lesson)
            if finding is not None and "benchmark item" in finding.reason:
                n_caught += 1
                continue
            lost[f"{name}, {way}"] += 1
            if args.show:
                print(f"missed: {name}, {way}: {lesson.prompt[0]['content'][:200]!r}")
        figures["planted items caught"] = f"{n_caught} of {n_planted}" + (
            f" (missed: {', '.join(lost)})" if lost else ""
        )
        if n_caught < 0.99 * n_planted:
            missed.append("fewer than 99 % of the planted items were caught")
        rejected: Counter[str] = Counter()
        right: Counter[str] = Counter()
        n_of: Counter[str] = Counter()
        started = time.perf_counter()
        for source, lesson in clean(args.clean):
            n_of[source] += 1
            finding = targets.reason_against(lesson)
            if finding is None:
                continue
            if lesson.row_id in REVIEWED:
                right[finding.reason] += 1
                continue
            rejected[f"{source}: {finding.reason}"] += 1
            if args.show:
                learned = lesson.completion or lesson.chosen or ""
                print(f"rejected {lesson.row_id} {source}: {finding.reason} ({finding.found}): "
                      f"{lesson.prompt[-1]['content'][:150]!r} -> {learned[:200]!r}")  # fmt: skip
        seconds = time.perf_counter() - started
    n = n_of.total()
    figures["real rows"] = (
        ", ".join(f"{k} of {source}" for source, k in n_of.items())
        + f"; {seconds / n * 1000:.2f} ms a row"
    )
    figures["rejected wrongly"] = f"{rejected.total()} of {n:,} ({rejected.total() / n:.2%})" + (
        "".join(f"; {reason}: {k}" for reason, k in sorted(rejected.items()))
    )
    figures["rejected rightly"] = (
        "; ".join(f"{reason}: {k}" for reason, k in sorted(right.items())) or "0"
    )
    if rejected.total() >= 0.01 * n:
        missed.append("1 % or more of the clean rows were rejected")
    note = (
        "Rows that were rejected rightly were read by hand and are named in the module. Samples "
        "and detectors have one author, and patterns were mended after the mistakes on all samples "
        "were seen, so precision and recall on other texts will be lower."
    )
    title = "What may become a training target"
    finish("targets", title, figures, missed=missed, note=note, keep=not args.no_record)


if __name__ == "__main__":
    main()
