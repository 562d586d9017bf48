"""The shipped replay prompts: shape, variety, no near-duplicates, none near a benchmark item.

Two texts are compared by their word 3-grams (Broder 1997, "On the resemblance and containment of
documents"):

- *Resemblance*: the Jaccard index of their 3-grams, with two marks before the first and two after
  the last word, so that each word stands in three 3-grams. Two texts of n words that differ in one
  word share n - 1 of n + 5 3-grams: 0.40 at five words, 0.60 at ten. Questions that only begin in
  the same way ("What is the difference between ...") stay below: 0.36 at most in this file.
- *Containment*: shared 3-grams (without marks) over those of the shorter text, for texts of eight
  words or more (below, "in the form of a" is most of a text). It finds an item that is quoted
  inside a longer prompt and a prompt that is cut out of a longer item.

Languages written without blanks are taken character by character, and marks in Indic scripts
split words: the units are smaller than words, so the test is stricter there, not laxer.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from refine.replay import PROMPTS_PATH, read_prompts

REPOSITORY = Path(__file__).resolve().parents[2]

MAX_RESEMBLANCE = 0.40
MAX_CONTAINMENT = 0.60
MIN_CONTAINED_WORDS = 8

# The ten most spoken languages, and letters that a text in them has.
LANGUAGES = {
    "en": "[a-zA-Z0-9]",
    "es": "[a-z]",
    "fr": "[a-z]",
    "pt": "[a-z]",
    "ru": "[а-яё]",
    "zh": "[\u4e00-\u9fff]",
    "hi": "[\u0900-\u097f]",
    "bn": "[\u0980-\u09ff]",
    "ar": "[\u0621-\u064a]",
    "ur": "[\u0621-\u064a]",
}
# Letters of Urdu that Arabic does not use.
URDU_LETTERS = set("ٹڈڑگچپےہھںکی")

# Folder on the hub, columns of the question, rows at least in the splits that are scored.
PUBLIC_BENCHMARKS = {
    "allenai/ai2_arc": ("question", 3_000),
    "Rowan/hellaswag": ("ctx", 10_000),
    "cais/mmlu": ("question", 14_000),
    "truthfulqa/truthful_qa": ("question", 800),
    "allenai/winogrande": ("sentence", 1_200),
    "openai/gsm8k": ("question", 1_300),
}

Words = list[str]
Shingles = set[tuple[str, ...]]

WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")


def words(text: str) -> Words:
    """Lower-case words; Han characters one by one; "it's" is "its"."""
    return WORD.findall(re.sub(r"['’]", "", text.lower()))


def shingles(units: Words) -> Shingles:
    return set(zip(units, units[1:], units[2:], strict=False))


class Index:
    """Finds the texts that are near another one, by an inverted index over 3-grams."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, int, int]] = []  # text, padded and plain 3-grams
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def add(self, text: str) -> None:
        plain, padded = self._shingles(text)
        for shingle in padded:
            self._holders[shingle].append(len(self._texts))
        self._texts.append((text, len(padded), len(plain)))

    def near(self, text: str) -> Iterator[tuple[float, str, str]]:
        """(value, measure, text of the index) for each text that is at or over a threshold."""
        plain, padded = self._shingles(text)
        n_padded_shared: Counter[int] = Counter()
        n_plain_shared: Counter[int] = Counter()
        for shingle in padded:
            holders = self._holders.get(shingle, ())
            n_padded_shared.update(holders)
            if shingle in plain:
                n_plain_shared.update(holders)
        for i, n_shared in n_padded_shared.items():
            other, n_padded, n_plain = self._texts[i]
            resemblance = n_shared / (len(padded) + n_padded - n_shared)
            if resemblance >= MAX_RESEMBLANCE:
                yield resemblance, "resemblance", other
            n_shorter = min(len(plain), n_plain)
            if n_shorter >= MIN_CONTAINED_WORDS - 2:
                containment = n_plain_shared[i] / n_shorter
                if containment >= MAX_CONTAINMENT:
                    yield containment, "containment", other

    @staticmethod
    def _shingles(text: str) -> tuple[Shingles, Shingles]:
        units = words(text)
        return shingles(units), shingles(["<", "<", *units, ">", ">"])


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in PROMPTS_PATH.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def messages(rows: list[dict[str, Any]]) -> Index:
    """Each message that the model does not write itself, on its own."""
    index = Index()
    for row in rows:
        for message in row["prompt"]:
            if message["role"] != "assistant":
                index.add(message["content"])
    return index


def conversation(row: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in row["prompt"])


def near_items(messages: Index, items: Iterable[str]) -> list[str]:
    return [
        f"{value:.2f} {measure}: {item!r} near the prompt {prompt!r}"
        for item in sorted(set(items))
        for value, measure, prompt in messages.near(item)
    ]


def test_each_line_is_a_conversation_that_the_user_ends(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert list(row) == ["task", "language", "prompt"]
        assert re.fullmatch("[a-z_]+", row["task"])
        roles = [message["role"] for message in row["prompt"]]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2) + ["user"], row
        for message in row["prompt"]:
            assert list(message) == ["role", "content"]
            assert message["content"] == message["content"].strip() != ""
            # str.splitlines, which the loader uses, must not find a line end inside a row.
            assert not re.search("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", message["content"])


def test_the_loader_reads_what_the_file_holds(rows: list[dict[str, Any]]) -> None:
    assert read_prompts() == [row["prompt"] for row in rows]


def test_many_kinds_of_task_and_shapes(rows: list[dict[str, Any]]) -> None:
    assert len(rows) >= 1_500
    n_by_task = Counter(row["task"] for row in rows)
    assert len(n_by_task) >= 50
    assert min(n_by_task.values()) >= 8, n_by_task.most_common()[-5:]
    assert max(n_by_task.values()) <= 0.05 * len(rows), n_by_task.most_common(5)

    n_words = [len(conversation(row).split()) for row in rows if row["language"] != "zh"]
    assert sum(5 <= n <= 60 for n in n_words) >= 0.75 * len(n_words)
    assert sum(n >= 150 for n in n_words) >= 20
    assert sum(n < 5 for n in n_words) >= 20

    with_system = sum(row["prompt"][0]["role"] == "system" for row in rows)
    of_several_turns = sum(len(row["prompt"]) > 2 for row in rows)
    assert with_system >= 0.08 * len(rows)
    assert of_several_turns >= 0.08 * len(rows)


def test_ten_languages_each_in_its_own_letters(rows: list[dict[str, Any]]) -> None:
    n_by_language = Counter(row["language"] for row in rows)
    assert set(n_by_language) == set(LANGUAGES)
    assert min(n_by_language.values()) >= 25
    for row in rows:
        text = row["prompt"][-1]["content"].lower()
        assert re.search(LANGUAGES[row["language"]], text), row
        if row["language"] == "ar":
            assert not URDU_LETTERS - set("ی") & set(text), row
        if row["language"] == "ur":
            assert URDU_LETTERS & set(text), row


@pytest.mark.parametrize(
    ("text", "other", "measure"),
    [
        ("How tall is a giraffe?", "how tall is a grown giraffe", "resemblance"),
        ("Where does an owl sleep?", "Where does an owl live?", "resemblance"),
        ("如何照顾一只小猫？", "如何照顾一只小狗？", "resemblance"),
        ("बारिश क्यों होती है, बताइए", "बारिश कब होती है, बताइए", "resemblance"),
        (
            "Which gas do most living things need to breathe?",
            'Answer this for my class: "Which gas do most living things need to breathe?" Thanks!',
            "containment",
        ),
    ],
)
def test_near_texts_are_found(text: str, other: str, measure: str) -> None:
    index = Index()
    index.add(other)
    assert measure in {found for _, found, _ in index.near(text)}


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("What is the difference between a cold and the flu?",
         "What is the difference between a bus and the tram?"),
        ("Thank you!", "Hello!"),
        ("How do I get rust off a pan?", "How do I get to the station from here?"),
    ],
)  # fmt: skip
def test_texts_that_only_begin_alike_are_not_near(text: str, other: str) -> None:
    index = Index()
    index.add(other)
    assert list(index.near(text)) == []


@pytest.mark.slow
def test_no_two_prompts_are_near_each_other(rows: list[dict[str, Any]]) -> None:
    index = Index()
    found = []
    for row in rows:
        text = conversation(row)
        found += [(value, measure, text, other) for value, measure, other in index.near(text)]
        index.add(text)
    assert found == []


@pytest.mark.slow
def test_no_prompt_is_near_an_item_of_a_built_in_suite(messages: Index) -> None:
    paths = sorted((REPOSITORY / "evals").glob("suites/*/**/*.jsonl"))
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    items = [question(json.loads(line)) for line in lines]
    assert len(items) >= 1_000, f"no suite's items to compare with in {paths}"
    assert near_items(messages, items) == []


@pytest.mark.slow
def test_no_prompt_is_near_a_question_that_the_demo_counts(messages: Index) -> None:
    """The demo asks them before and after a night to count what the night broke."""
    path = REPOSITORY / "refine" / "demo" / "organisation.yaml"
    items = [item["ask"] for item in yaml.safe_load(path.read_text("utf-8"))["everyday"]]
    assert len(items) >= 50
    assert near_items(messages, items) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLIC_BENCHMARKS))
def test_no_prompt_is_near_a_public_benchmark_item(
    name: str, messages: Index, shared_dir: Path
) -> None:
    """Against the splits that are scored and those that give examples (dev)."""
    column, n_least = PUBLIC_BENCHMARKS[name]
    folder = shared_dir / "benchmarks" / "hub" / name
    if not folder.is_dir():
        pytest.skip(f"replay prompts NOT compared with {name}: {folder} is not there")
    from pyarrow import parquet

    items = [
        item
        for path in sorted(folder.rglob("*.parquet"))
        if not path.name.startswith("train")
        for item in parquet.read_table(path, columns=[column])[column].to_pylist()
    ]
    assert len(items) >= n_least
    assert near_items(messages, items) == []


def question(item: dict[str, Any]) -> str:
    """The question of a row in the columns of ARC, MMLU and TruthfulQA, or of HellaSwag."""
    text: str = item["question"] if "question" in item else item["ctx_a"]
    return text
