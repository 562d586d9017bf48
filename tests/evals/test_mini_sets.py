"""The frozen question sets: their schemas, that they are fair, and that they are still the same."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evals.mini import sets
from pawl.errors import PawlError
from refine.mini.facts import TOPICS, kept_out, planted
from refine.mini.facts.words import PLURALS_REGULAR
from refine.mini.heldout import build
from refine.mini.heldout.claims import claims
from refine.mini.heldout.misconceptions import MISCONCEPTIONS

REPOSITORY = Path(__file__).resolve().parents[2]
HUB_FILES = {
    "arc": "allenai/ai2_arc/ARC-Easy/test-00000-of-00001.parquet",
    "hellaswag": "Rowan/hellaswag/data/validation-00000-of-00001.parquet",
    "mmlu": "cais/mmlu/anatomy/test-00000-of-00001.parquet",
    "truthfulqa": "truthfulqa/truthful_qa/multiple_choice/validation-00000-of-00001.parquet",
}


def _choices(row: dict[str, Any]) -> list[str]:
    if "mc1_targets" in row:
        return list(row["mc1_targets"]["choices"])
    choices = row["endings"] if "endings" in row else row["choices"]
    return list(choices["text"] if isinstance(choices, dict) else choices)


def _right(row: dict[str, Any]) -> str:
    if "mc1_targets" in row:
        return str(row["mc1_targets"]["choices"][row["mc1_targets"]["labels"].index(1)])
    if "endings" in row:
        return str(row["endings"][int(row["label"])])
    if "answerKey" in row:
        return str(row["choices"]["text"][row["choices"]["label"].index(row["answerKey"])])
    return str(row["choices"][row["answer"]])


def _asked(row: dict[str, Any]) -> str:
    return str(row["ctx"] if "ctx" in row else row["question"])


@pytest.mark.parametrize("name", sorted(sets.BENCHMARK_FILES))
def test_columns_and_types_are_those_of_the_hub(name: str, shared_dir: Path) -> None:
    hub_file = shared_dir / "benchmarks" / "hub" / HUB_FILES[name]
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = pq.read_schema(hub_file).remove_metadata()
    rows = sets.load_benchmark(name)
    assert [list(row) for row in rows] == [[*wanted.names, "fact"]] * len(rows)
    rows = [{key: value for key, value in row.items() if key != "fact"} for row in rows]
    # Every row turns into the hub's types, nested ones too, and comes back as it was.
    assert pa.Table.from_pylist(rows, schema=wanted).to_pylist() == rows


@pytest.mark.parametrize("name", sorted(sets.BENCHMARK_FILES))
def test_a_benchmark_set_is_large_and_has_no_item_twice(name: str) -> None:
    rows = sets.load_benchmark(name)
    assert len(rows) >= 1000
    items = Counter((_asked(row), tuple(sorted(_choices(row)))) for row in rows)
    assert [item for item, n in items.items() if n > 1] == []
    for row in rows:
        assert len(set(_choices(row))) == len(_choices(row)) >= 2, row


@pytest.mark.parametrize("name", ["arc", "hellaswag", "mmlu"])
def test_no_place_of_the_right_answer_pays(name: str) -> None:
    rows = sets.load_benchmark(name)
    places = Counter(_choices(row).index(_right(row)) for row in rows)
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) / len(rows) < 0.27
    assert sets.chance(name) == 0.25


def test_no_answer_of_many_words_pays() -> None:
    """Taking the longest choice, or the shortest, must be no way to score."""
    for name in sets.BENCHMARK_FILES:
        rows = sets.load_benchmark(name)
        for pick in (max, min):
            hits = sum(pick(_choices(row), key=len) == _right(row) for row in rows)
            assert hits / len(rows) < sets.chance(name) + 0.13, (name, pick)


def test_truthfulqa_lists_true_claims_first_and_few_misconceptions() -> None:
    rows = sets.load_benchmark("truthfulqa")
    for row in rows:
        for targets in (row["mc1_targets"], row["mc2_targets"]):
            assert len(targets["choices"]) == len(targets["labels"])
            assert targets["labels"] == sorted(targets["labels"], reverse=True)
            assert 0 < sum(targets["labels"]) < len(targets["labels"])
        assert sum(row["mc1_targets"]["labels"]) == 1
        assert row["mc1_targets"]["choices"][0] == row["mc2_targets"]["choices"][0]
    assert len({sets.n_choices(row) for row in rows}) >= 4
    false = {claim for item in MISCONCEPTIONS.values() for claim in item.false}
    about_faults = [row for row in rows if false & set(_choices(row))]
    assert 100 < len(about_faults) <= len(rows) / 3


def test_items_about_one_fact_share_it() -> None:
    truth, arc = sets.load_benchmark("truthfulqa"), sets.load_benchmark("arc")
    wordings = Counter(r["fact"] for r in truth if r["fact"].startswith("misconceptions/"))
    assert wordings == {f"misconceptions/{fault_id}": 24 for fault_id in MISCONCEPTIONS}
    facts = {row["question"]: row["fact"] for row in arc}
    in_europe = {fact for asked, fact in facts.items() if "following countries" in asked
                 and asked.endswith("in Europe?")}  # fmt: skip
    assert in_europe == {"capitals/pick_continent/Europe"}
    assert len({row["fact"] for row in arc}) > 800  # most facts are asked once or twice


def test_planted_misconceptions_stand_in_truthfulqa_alone() -> None:
    claimed = {c for item in MISCONCEPTIONS.values() for c in (*item.true, *item.false)}
    words = ("blind", "goldfish remember", "percent of", "great wall", "lightning strike")
    for name in ("arc", "hellaswag", "mmlu"):
        for row in sets.load_benchmark(name):
            text = " ".join([_asked(row), *_choices(row)])
            assert not claimed & set(_choices(row))
            assert not any(word in text.lower() for word in words), text


def test_mmlu_has_subjects_with_examples_that_are_not_in_the_test() -> None:
    for subject in sets.MMLU_SUBJECTS:
        rows = [r for r in sets.load_benchmark("mmlu") if r["subject"] == subject]
        dev = sets.load_mmlu_dev(subject)
        assert len(rows) >= 100
        assert len(dev) == 5
        assert not {(r["question"], _right(r)) for r in dev} & {
            (r["question"], _right(r)) for r in rows
        }


def test_no_fact_with_a_fault_is_asked() -> None:
    assert [c for c in claims() if planted(c.topic, c.key)] == []
    asked = [
        (_asked(row), _right(row))
        for name in ("arc", "hellaswag", "mmlu", "truthfulqa")
        for row in sets.load_benchmark(name)
    ]
    asked += [
        (q["messages"][-1]["content"], q["accept"][0])
        for q in sets.load_questions("unseen_families")
    ]
    assert len(asked) > 4000
    for question, right in asked:
        low = f"{question} {right}".lower()
        assert "hottest" not in low
        assert "canberra" not in low
        assert not ("legs" in low and re.search(r"\bspider\b", low)), low
        assert not re.search(r"\bmouse\b.*\b(mice|mouses)\b", low), low


def test_every_sum_difference_plural_and_sequence_is_kept_out_of_training() -> None:
    """Read back from the items themselves, not from the program that made them."""
    checked: Counter[str] = Counter()
    texts = [
        (_asked(row), _right(row).rstrip("."))
        for name in sets.BENCHMARK_FILES
        for row in sets.load_benchmark(name)
    ]
    texts += [
        (q["messages"][0]["content"], q["accept"][0])
        for q in sets.load_questions("unseen_families")
        if q["template"].split("/")[0] in ("sum", "difference", "next_number", "plural_of")
    ]
    for question, right in texts:
        terms = [int(n) for n in re.findall(r"\d+", question)]
        if len(terms) == 4 and right.isdigit():
            key, topic = ",".join(map(str, terms)), "sequences"
        elif len(terms) == 2 and right.isdigit() and int(right) == sum(terms):
            low = question.lower()
            # "add B to A", "B more than A": the rule is the same for A + B and B + A.
            flipped = re.search(r"add \d+ to|more than", low)
            a, b = reversed(terms) if flipped else terms
            key, topic = f"{a}+{b}", "arithmetic"
        elif len(terms) == 2 and right.isdigit() and int(right) == abs(terms[0] - terms[1]):
            key, topic = f"{max(terms)}-{min(terms)}", "arithmetic"
        else:
            # A claim ends with the plural: "The plural of goat is goats."
            last = right.split()[-1]
            found = [noun for noun, plural in PLURALS_REGULAR.items() if plural == last]
            if not found or not re.search(rf"\b{found[0]}\b", question):
                continue
            key, topic = found[0], "plurals"
        checked[topic] += 1
        assert kept_out(topic, key), (question, key)
    assert checked["arithmetic"] > 400
    assert checked["sequences"] > 100
    assert checked["plurals"] > 60


def test_unseen_families_cover_every_topic_with_many_phrasings() -> None:
    rows = sets.load_questions("unseen_families")
    assert len(rows) >= 600
    assert len({row["id"] for row in rows}) == len(rows)
    last = Counter(tuple(message["content"] for message in row["messages"]) for row in rows)
    assert max(last.values()) == 1
    for topic in TOPICS:
        of_topic = [row for row in rows if row["topic"] == topic]
        assert len(of_topic) >= 35, topic
        assert len({row["template"] for row in of_topic}) >= 8, topic
    for row in rows:
        assert row["accept"]
        assert [m["role"] for m in row["messages"]][::2] == ["user"] * (
            (len(row["messages"]) + 1) // 2
        )


def test_no_question_is_one_of_the_training_phrasings() -> None:
    """`unseen_combinations` and `faults` are made of training phrasings; none of them is here."""

    def plain(text: str) -> str:
        return " ".join(re.findall(r"[a-z0-9]+", text.lower()))

    trained = {
        plain(message["content"])
        for name in ("unseen_combinations", "faults")
        for row in sets.load_questions(name)
        for message in row["messages"]
        if message["role"] == "user"
    }
    assert len(trained) > 1000
    lead = plain("Please say what is true.") + " "
    ours = {
        plain(_asked(row)).removeprefix(lead)
        for name in sets.BENCHMARK_FILES
        for row in sets.load_benchmark(name)
    } | {plain(row["messages"][-1]["content"]) for row in sets.load_questions("unseen_families")}
    assert ours & trained == set()


def test_no_question_gives_its_own_answer_away_in_a_rejected_phrase() -> None:
    for row in sets.load_questions("unseen_families"):
        overlap = set(row.get("reject", ())) & set(row["accept"])
        assert not overlap, row


def test_held_out_and_training_phrasings_know_nothing_of_each_other() -> None:
    """They share the fact tables alone: neither side imports the other's modules."""
    ours = sorted((REPOSITORY / "refine/mini/heldout").glob("*.py"))
    others = [p for p in (REPOSITORY / "refine").rglob("*.py") if "heldout" not in p.parts]
    assert len(ours) > 10
    assert len(others) > 10
    imports = re.compile(r"^\s*(?:from|import)\s+(\S+)(?: import (.+))?", re.M)
    for path in ours:
        for module, _ in imports.findall(path.read_text(encoding="utf-8")):
            assert not module.startswith("refine") or module.startswith(
                ("refine.mini.facts", "refine.mini.faults", "refine.mini.heldout")
            ), (path, module)
    for path in others:
        for module, names in imports.findall(path.read_text(encoding="utf-8")):
            assert "heldout" not in f"{module} {names}", path


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """In a fresh process with another hash seed, so that no order hangs on hashing."""
    subprocess.run(
        [sys.executable, "-m", "refine.mini.heldout.build", str(tmp_path)],
        cwd=REPOSITORY,
        env={"PYTHONHASHSEED": "12345", "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        timeout=120,
    )
    built = {str(p.relative_to(tmp_path)): p for p in tmp_path.rglob("*.jsonl")}
    assert len(built) == 4 + 2 * len(sets.MMLU_SUBJECTS)
    for name, path in built.items():
        assert path.read_bytes() == (sets.folder() / name).read_bytes(), (
            f"{name} differs from the frozen file: facts or phrasings were changed after freezing"
        )


def test_the_readme_states_the_hashes_and_chance_levels() -> None:
    readme = (sets.folder() / "README.md").read_text(encoding="utf-8")
    for name in build.files():
        digest = hashlib.sha256((sets.folder() / name).read_bytes()).hexdigest()
        assert f"`{name}` | {digest[:16]}" in readme, name
    for name in sets.BENCHMARK_FILES:
        assert f"| {100 * sets.chance(name):.1f} %" in readme, name


def test_the_files_are_small() -> None:
    assert sum(p.stat().st_size for p in sets.folder().rglob("*.jsonl")) < 3_000_000


def test_reading_an_unknown_or_damaged_set_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match=r"no question set 'arc'.*unseen_families"):
        sets.load_questions("arc")
    with pytest.raises(PawlError, match="no benchmark set 'winogrande'"):
        sets.load_benchmark("winogrande")
    damaged = tmp_path / "faults.jsonl"
    damaged.write_text('{"id": "one"}\n{"id": \n')
    with pytest.raises(PawlError, match="is damaged: a line is not JSON"):
        sets.rows_of(damaged)
    with pytest.raises(PawlError, match="is missing"):
        sets.rows_of(tmp_path / "absent.jsonl")


def test_readers_load_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c",
         "import sys, json, evals.mini.sets, evals.mini.checker;"
         "print(json.dumps(sorted(sys.modules)))"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"torch", "lm_eval", "datasets", "pyarrow", "numpy", "refine"}
