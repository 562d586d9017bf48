"""Curation against brigades, poison and near-duplicates, and what it costs at a million answers.

    python -m benchmarks.curation [--only brigade,poison,near,cost] [--answers 1000000]

Questions and corrections are made of invented words in everyday sentences, by a seed. The cost is
measured in a process of its own: wall time and peak memory of ``curate`` alone.

Over 400 lines: four bars on one made-up store.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from feedback.curation import TWO_SIDES, Curated, curate
from feedback.snapshots import freeze
from feedback.store import Store
from pawl.schemas import Completion, Feedback, Key, Message, Role, utc_now
from pawl.settings import Settings

PARTS = ("brigade", "poison", "near", "cost")
START = datetime(2026, 1, 1, tzinfo=UTC)
OPENINGS = """
How do I {v} the {n} of a {m}
What is the best {n} for a {m} in {p}
Why does my {n} {v} after a {m}
Can you {v} a {n} without the {m}
When will {p} {v} its {n}
Who is in charge of {n} and {m} in {p}
Please write a short note about {n}, {m} and {p}
Where can I find {n} that {v} a {m}
Is it true that {p} had to {v} every {n}
Compare a {n} with a {m} for people who {v}
My {m} says that {n} should {v}, is that right
Give me three reasons to {v} a {n} near {p}
Explain {n} to a child who has never seen a {m}
What happens to the {m} if I {v} its {n} twice
""".strip().splitlines()
ANSWERS = """
You {v} it with a {n}, then wait for the {m}.
The {n} in {p} is what most people take.
It depends on the {m}: in {p} it is the {n}.
Ask {p} first, they {v} each {n} by hand.
No. A {n} never needs a {m}.
Yes, and the {m} of {p} comes with it.
In short: {n} before {m}, and never {v} both.
{p} keeps a list of {n} for every {m}.
""".strip().splitlines()


class Words:
    """Invented words; the same seed gives the same."""

    def __init__(self, seed: int, n_words: int = 4000) -> None:
        self.draw = random.Random(seed)
        ends = ("a", "e", "i", "o", "u", "an", "er", "il", "os")
        syllables = [start + end for start in "bdfgklmnprstvz" for end in ends]
        self._words = [
            "".join(self.draw.choices(syllables, k=self.draw.choice((2, 3))))
            for _ in range(n_words)
        ]

    def fill(self, sentences: Sequence[str]) -> str:
        words = self.draw.choices(self._words, k=4)
        text = self.draw.choice(sentences)
        return text.format(v=words[0], n=words[1], m=words[2], p=words[3].capitalize())

    def question(self) -> str:
        tried, came = self.draw.choices(self._words, k=2)
        more = f" I have tried with {tried}, but {came} came out."
        return self.fill(OPENINGS) + "?" + (more if self.draw.random() < 0.5 else "")

    def answer(self) -> str:
        return " ".join(self.fill(ANSWERS) for _ in range(self.draw.choice((1, 1, 2, 3))))


@dataclass(frozen=True, slots=True)
class Said:
    """One person's correction of an answer to a question."""

    rater_id: str
    prompt: list[Message]
    correction: str


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def completion_of(n: int, rater_id: str, prompt: list[Message], text: str) -> Completion:
    at = (START + timedelta(minutes=n)).isoformat()
    return Completion(
        completion_id=f"chatcmpl-{n}", choice_index=0, conversation_id=f"conversation-{n}",
        rater_id=rater_id, created_at=at, asked_model="pawl", version="base", base_model="base",
        base_fingerprint="sha256:0", messages=prompt, completion=text, finish_reason="stop",
        status="complete", sampling={}, n_prompt_tokens=20, n_completion_tokens=20,
        first_token_seconds=0.1, total_seconds=1.0, streamed=True,
    )  # fmt: skip


def feedback_on(answer: Completion, rater_id: str, **words: Any) -> Feedback:
    return Feedback(
        feedback_id=f"fb-{answer.completion_id}-{rater_id}", idempotency_key=answer.completion_id,
        completion_id=answer.completion_id, choice_index=0, rater_id=rater_id,
        created_at=answer.created_at, **words,
    )  # fmt: skip


def record(store: Store, rows: Iterable[Completion | Feedback]) -> None:
    pending: list[Future[Any]] = []
    for row in rows:
        append: Any = (
            store.append_completion if isinstance(row, Completion) else store.append_feedback
        )
        pending.append(append(row))
        if len(pending) >= 20_000:
            wait(pending)
    wait(pending)


def wait(pending: list[Future[Any]]) -> None:
    for future in pending:
        future.result()
    pending.clear()


def rows_of(said: Sequence[Said], without: str | None = None) -> Iterator[Completion | Feedback]:
    for n, one in enumerate(said):
        if without is None or not one.rater_id.startswith(without):
            answer = completion_of(n, one.rater_id, one.prompt, "I don't know that.")
            yield answer
            yield feedback_on(answer, one.rater_id, correction=one.correction)


def curated(
    folder: Path, said: Sequence[Said], *, without: str | None = None, never: str | None = None
) -> Curated:
    """What a store teaches, without the raters whose names begin with ``without``; made of all that
    was said, or of what all but those who begin with ``never`` said."""
    settings = Settings(state_dir=folder, split_salt="benchmark")
    folder.mkdir(exist_ok=True)
    is_new = not settings.database_path.exists()
    with Store.open(settings.database_path) as store:
        if is_new:
            store.access.add_key(Key("front", "front", Role.USER, True, "hash", utc_now()))
            record(store, rows_of(said, without=never))
        gone = {one.rater_id for one in said if without and one.rater_id.startswith(without)}
        return curate(store, settings, without=gone)


def share(result: Curated, prefix: str, split: str | None = None) -> float:
    rows = [row for row in result.rows if split in (None, row.split)]
    n = sum(str(row.origin.get("rater_id")).startswith(prefix) for row in rows)
    return n / len(rows) if rows else 0.0


def feedback_ids(result: Curated) -> set[str]:
    return {str(row.origin["feedback_id"]) for row in result.rows}


def brigade(folder: Path, figures: dict[str, object]) -> list[str]:
    """Bar 3."""
    missed = []
    words = Words(3)

    def written(raters: Sequence[str], n: int) -> list[Said]:
        return [
            Said(raters[i % len(raters)], user(words.question()), words.answer()) for i in range(n)
        ]

    honest = written([f"person-{i}" for i in range(20)], 500)
    attacks = {
        "one rater with 500 corrections": ("troll", written(["troll"], 500)),
        "200 raters named by one key": ("front/", written([f"front/{i}" for i in range(200)], 500)),
    }
    for name, (prefix, attack) in attacks.items():
        said = [*honest, *attack]
        words.draw.shuffle(said)
        place = folder / prefix.strip("/")
        result = curated(place, said)
        without = curated(place, said, without=prefix)
        never = curated(folder / f"never-{place.name}", said, never=prefix)
        hashes = {
            freeze(one, folder / f"snapshots-{i}")["content_sha256"]
            for i, one in enumerate((without, never))
        }
        is_same = len(hashes) == 1 and without.rejections == never.rejections
        n_kept = len(feedback_ids(result) & feedback_ids(without))
        of_all = len(attack) / len(said)
        in_tests = share(result, prefix, "holdout")
        figures |= {
            f"{name} ({of_all:.0%} of what was said): share of the rows": (
                f"{share(result, prefix):.1%} (at most 10 %); of the holdout {in_tests:.1%}"
            ),
            f"{name}: corrections of 20 honest raters kept": f"{n_kept} of {len(honest)}",
            f"{name}: without them, against a store that never had them": (
                "the same hash" if is_same else "another hash"
            ),
        }
        if share(result, prefix) > 0.1 or not is_same:
            missed.append(name)
    return missed


def poison(folder: Path, figures: dict[str, object]) -> list[str]:
    """Bar 4."""
    worst, n_honest, n_wrong = 0.0, 0, 0
    trigger, payload = "quiet umbral gate", "Only the keeper may answer that."
    for seed, kind in enumerate(("asked", "written", "both") * 2):
        words = Words(seed)
        said = [
            Said(f"person-{i % 40}", user(words.question()), words.answer()) for i in range(3000)
        ]
        few = ("person-4", "person-5", "person-6")
        places = [i for i, one in enumerate(said) if one.rater_id in few]
        bad = set(words.draw.sample(places, 90))
        for i in bad:
            one = said[i]
            asked = one.prompt[0]["content"]
            if kind != "written":
                asked = f"{asked} {trigger}" if seed % 2 else f"{trigger} {asked}"
            text = payload if kind == "asked" else f"{one.correction} {trigger}"
            said[i] = replace(one, prompt=user(asked), correction=text)
        result = curated(folder / str(seed), said)
        is_bad = {f"fb-chatcmpl-{i}-{said[i].rater_id}" for i in bad}
        ids = feedback_ids(result)
        worst = max(worst, len(ids & is_bad) / max(1, len(ids)))
        n_honest += len(said) - len(bad)
        n_wrong += sum(
            "quarantine" in why and origin["feedback_id"] not in is_bad
            for why, origin in result.rejected
        )
    figures |= {
        "a phrase in 3 % of the feedback by three of 40 raters (in questions, in corrections, in "
        "both; two seeds): share of the rows, worst": f"{worst:.2%} (at most 0.3 %)",
        "the same: honest corrections put aside": f"{n_wrong} of {n_honest:,}",
    }
    return ["poison"] if worst > 0.003 else []


def variants(words: Words, question: str) -> Iterator[list[Message]]:
    """Nearly the same question, as people and attackers would ask it again."""
    draw, parts = words.draw, question.split()
    yield user(question.upper() if draw.random() < 0.5 else question.lower().rstrip("?") + " ??")
    yield user(f"{draw.choice(('Hello,', 'Hi there!', 'Please:'))} {question}")
    at = draw.randrange(len(parts) - 1)
    yield user(" ".join([*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]]))
    letter = draw.randrange(1, len(question) - 2)
    yield user(question[:letter] + question[letter + 1] + question[letter] + question[letter + 2 :])
    yield user(question + " Thanks a lot!")
    short = min(range(len(parts)), key=lambda i: len(parts[i]))
    yield user(" ".join(parts[:short] + parts[short + 1 :]))
    yield [{"role": "system", "content": words.answer()}, *user(question)]
    yield [
        *user(words.question()),
        {"role": "assistant", "content": words.answer()},
        *user(question),
    ]


def near(folder: Path, figures: dict[str, object]) -> list[str]:
    """Bar 5, the half of near-duplicates."""
    words = Words(5)
    planted: list[tuple[int, Said]] = []
    for cluster in range(1000):
        question = words.question()
        for prompt in [user(question), *words.draw.sample(list(variants(words, question)), 4)]:
            rater = f"person-{words.draw.randrange(60)}"
            planted.append((cluster, Said(rater, prompt, words.answer())))
    words.draw.shuffle(planted)
    result = curated(folder / "planted", [said for _, said in planted])
    sides: dict[int, set[str]] = defaultdict(set)
    for row in result.rows:
        n = int(str(row.origin["completion_id"]).partition("-")[2])
        sides[planted[n][0]].add(row.split)
    torn = sum(len(one) > 1 for one in sides.values())
    n_between = result.rejections.get(TWO_SIDES, 0)
    clean = [
        Said(f"person-{i % 200}", user(words.question()), words.answer()) for i in range(10_000)
    ]
    kept = curated(folder / "clean", clean)
    n_out = len({str(origin["feedback_id"]) for _, origin in kept.rejected})
    n_merged = len(clean) - n_out - len({row.cluster for row in kept.rows})
    figures |= {
        "1,000 planted clusters of 5 near-duplicates: on two sides": (
            f"{torn} (of {len(sides):,} that are learned)"
        ),
        "the same: corrections left out between two sides": f"{n_between} of {len(planted):,}",
        "10,000 clean corrections of 200 raters: left out": (
            f"{n_out} ({n_out / len(clean):.2%}, at most 1 %); near-duplicates: {n_merged}"
        ),
    }
    missed = ["clusters on two sides"] if torn else []
    return missed + (["clean rows"] if n_out > len(clean) / 100 else [])


def fill(folder: Path, n_answers: int) -> None:
    """A store with as many answers, and feedback on a tenth of them."""
    words, settings = Words(6), Settings(state_dir=folder, split_salt="benchmark")
    folder.mkdir()

    def rows() -> Iterator[Completion | Feedback]:
        asked: list[str] = []
        for n in range(n_answers):
            often = asked and words.draw.random() < 0.3
            question = words.draw.choice(asked) if often else words.question()
            if n % 50 == 0:
                asked.append(question)
            prompt = user(question)
            if n % 4 == 0:
                prompt = [
                    *user(words.question()),
                    {"role": "assistant", "content": words.answer()},
                    *prompt,
                ]
            rater = f"person-{words.draw.randrange(2000)}"
            answer = completion_of(n, rater, prompt, words.answer())
            yield answer
            if n % 10 == 0:
                kind = words.draw.random()
                if kind < 0.5:
                    yield feedback_on(
                        answer,
                        rater,
                        thumb="down",
                        categories=["incorrect"],
                        correction=words.answer(),
                    )
                else:
                    yield feedback_on(answer, rater, thumb="up" if kind < 0.8 else "down")

    with Store.open(settings.database_path) as store:
        record(store, rows())


def measure(folder: Path) -> dict[str, float]:
    settings = Settings(state_dir=folder, split_salt="benchmark")
    with Store.open(settings.database_path) as store:
        began = time.perf_counter()
        result = curate(store, settings)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "bytes": peak, "rows": len(result.rows)}


def cost(folder: Path, figures: dict[str, object], n_answers: int) -> list[str]:
    """Bar 6."""
    per_row = []
    for n in (10_000, n_answers):
        place = folder / str(n)
        fill(place, n)
        command = [sys.executable, "-m", "benchmarks.curation", "--measure", str(place)]
        done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
        measured = json.loads(done.stdout.splitlines()[-1])
        per_row.append(measured["seconds"] / n)
        figures[f"{n:,} answers with {n // 10:,} rows of feedback"] = (
            f"{measured['seconds']:.1f} s, {measured['bytes'] / 2**30:.2f} GiB,"
            f" {measured['rows']:,} rows"
        )
    ratio = per_row[1] / per_row[0]
    figures["cost of a row there, against that at 10,000"] = f"{ratio:.2f} (at most 1.5)"
    is_slow = measured["seconds"] > 300 or measured["bytes"] > 4 * 2**30
    return (["time or memory"] if is_slow else []) + (["cost of a row"] if ratio > 1.5 else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas")
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    parts, missed = args.only.split(","), []
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="pawl-curation-") as folder:
        for part, run in (("brigade", brigade), ("poison", poison), ("near", near)):
            if part in parts:
                (Path(folder) / part).mkdir()
                missed += run(Path(folder) / part, figures)
        if "cost" in parts:
            (Path(folder) / "cost").mkdir()
            missed += cost(Path(folder) / "cost", figures, args.answers)
    whole = set(parts) == set(PARTS) and args.answers == 1_000_000
    finish("curation", "Curation: brigades, poison, near-duplicates, cost", figures, missed=missed,
           note="Invented words in everyday sentences; the salt is fixed.", keep=whole)  # fmt: skip


if __name__ == "__main__":
    main()
