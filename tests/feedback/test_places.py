"""Near-duplicates stand on one side of the split, for ever."""

from __future__ import annotations

import random

import pytest

from feedback.near_duplicates import comparable, neighbours
from feedback.splits import Place, places_of_prompts, prompt_key
from pawl.schemas import Message, Split
from tests.feedback.examples import SALT, conversation_in

REFUND = "How can I get a refund for a ticket that I bought last week?"


def _user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _places(*asked: tuple[str, list[Message]], released: tuple[str, ...] = ()) -> list[Place]:
    """The place of each prompt; first its group."""
    prompts = [(group, prompt_key(prompt), prompt) for group, prompt in asked]
    places = places_of_prompts(prompts, SALT, released)
    return [places[key] for _, key, _ in prompts]


@pytest.mark.parametrize(
    "prompt",
    [
        _user("how can I get a refund for the ticket I bought last week"),
        _user("Hello, how can I get a refund for a ticket that I bought last week? Thanks!"),
        _user("How cna I get a refund for a tiket that I bought last week?"),
        [{"role": "system", "content": "You work for a railway."}, *_user(REFUND)],
        [*_user("Hi"), {"role": "assistant", "content": "Hello!"}, *_user(REFUND)],
    ],
)
def test_a_near_duplicate_stands_where_the_first_stands(prompt: list[Message]) -> None:
    first, second = _places(
        (conversation_in("holdout"), _user(REFUND)), (conversation_in("train"), prompt)
    )
    assert first == second
    assert first.split == "holdout"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("What is 12 + 5?", "What is 13 + 5?"),
        ("When does the mill open in the morning?", "When does the mill close in the evening?"),
    ],
)
def test_what_asks_for_something_else_stands_for_itself(one: str, other: str) -> None:
    first, second = _places(
        (conversation_in("holdout"), _user(one)), (conversation_in("train"), _user(other))
    )
    assert (first.split, second.split) == ("holdout", "train")
    assert first.cluster != second.cluster


def test_a_few_words_in_mid_conversation_are_taken_with_what_came_before() -> None:
    def why(topic: str) -> list[Message]:
        return [*_user(topic), {"role": "assistant", "content": f"{topic} So."}, *_user("Why?")]

    first, second, third = _places(
        (conversation_in("holdout"), why("Tell me about the tides of the sea.")),
        (conversation_in("train"), why("Is a whale a fish?")),
        (conversation_in("train"), why("Tell me about the tides of the sea!")),
    )
    assert (first.split, second.split, third) == ("holdout", "train", first)


def _later(question: str, topic: str) -> list[Message]:
    """A question in mid-conversation."""
    return [*_user(topic), {"role": "assistant", "content": f"{topic} So."}, *_user(question)]


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("法国的首都是哪里？", "为什么？"),
        ("フランスの首都はどこですか？", "それはなぜですか？"),
        ("프랑스의 수도는 어디입니까?", "왜 그런가요?"),
        ("ไทยมีกี่จังหวัด", "เพราะอะไร"),
        ("ປະເທດລາວມີຈັກແຂວງ", "ຍ້ອນຫຍັງ"),
        ("ပြင်သစ်မြို့တော်ကဘာလဲ", "ဘာလို့လဲ"),
        ("តើកម្ពុជាមានប៉ុន្មានខេត្ត", "ហេតុអ្វី"),
    ],
)
def test_a_question_stands_alone_in_scripts_of_few_characters(question: str, why: str) -> None:
    topics = "Tell me about the tides of the sea.", "Is a whale a fish?"
    for text, alone in ((question, True), (why, False)):
        first, second = _places(
            (conversation_in("holdout"), _later(text, topics[0])),
            (conversation_in("train"), _later(text, topics[1])),
        )
        assert (first == second) == alone
        assert second.split == ("holdout" if alone else "train")


@pytest.mark.parametrize("tested", ["holdout", "validation"])
def test_prompts_that_are_one_by_now_are_learned_from_where_they_stood_apart(tested: Split) -> None:
    """They were told by other texts when that was written down. What nearly says so goes along."""
    question = "法国的首都是哪里？"
    asked: list[tuple[Split, str]] = [
        (tested, question),
        ("train", question),
        ("holdout", question),
        (tested, f"{question} 谢谢"),
        (tested, "海水的潮汐是怎么来的？"),
    ]
    prompts = [
        (conversation_in(split), prompt_key(prompt), prompt)
        for n, (split, text) in enumerate(asked)
        for prompt in [_later(text, f"Topic {n}.")]
    ]
    keys = [key for _, key, _ in prompts]
    stood: dict[str, Split | None] = {key: tested for key in keys if key != keys[2]}
    stood[keys[1]] = "train"
    places = places_of_prompts(prompts, SALT, placed=stood)
    assert [places[key].split for key in keys] == ["train"] * 4 + [tested]
    # What is written down of it then holds, also when the trained one is erased.
    stood = {key: places[key].split for key in keys}
    left = places_of_prompts([prompts[0], *prompts[2:]], SALT, placed=stood)
    assert [left[key].split for key in keys if key != keys[1]] == ["train"] * 3 + [tested]


def test_what_stood_nowhere_stays_there_and_the_others_of_its_text_stand() -> None:
    """Else what nearly says so was placed by nothing: half of it is trained on, beside a test."""
    question, nearly = "为什么天空看起来是蓝色的？", "为什么天空看起来是蓝色的呢？"
    prompts = [
        (conversation_in("train"), prompt_key(prompt), prompt)
        for topic, text in (("A", question), ("B", question), ("C", question), ("D", nearly))
        for prompt in [_later(text, f"A topic, {topic}.")]
    ]
    keys = [key for _, key, _ in prompts]
    stood: dict[str, Split | None] = {keys[0]: None, keys[1]: "holdout"}
    places = places_of_prompts(prompts, SALT, placed=stood)
    assert [places[key].split for key in keys] == [None, "holdout", "holdout", "holdout"]
    assert len({places[key].cluster for key in keys}) == 1


@pytest.mark.parametrize("first", ["train", "holdout"])
def test_near_duplicates_that_stood_apart_are_learned_from(first: Split) -> None:
    """With all that is near one of them, and what comes after that is written down."""
    second: Split = "holdout" if first == "train" else "train"
    asked: list[tuple[Split | None, str]] = [
        (first, REFUND),
        (first, f"Hello! {REFUND}"),
        (second, f"{REFUND} Please!"),
        ("holdout", "Who wrote the Ottermoor rules?"),
        (None, f"{REFUND} Thanks!"),
    ]
    prompts = [
        (conversation_in("holdout"), prompt_key(prompt), prompt)
        for _, text in asked
        for prompt in [_user(text)]
    ]
    stood = {key: side for (_, key, _), (side, _) in zip(prompts[:4], asked[:4], strict=True)}
    places = places_of_prompts(prompts[:4], SALT, placed=stood)
    assert [places[key].split for key in stood] == ["train"] * 3 + ["holdout"]
    assert len({places[key].cluster for key in stood}) == 2
    stood = {key: places[key].split for key in stood}
    places = places_of_prompts(prompts, SALT, placed=stood)
    assert [place.split for place in places.values()] == ["train"] * 3 + ["holdout", "train"]


def test_a_prompt_between_two_sides_is_left_out_alone() -> None:
    ends = "the blue bicycle in the yard behind the house", "the red canoe on the river by the mill"
    between = " and ".join(ends)
    asked: list[tuple[Split, str]] = [
        ("train", f"{ends[0]} and a canoe on a river"),
        ("holdout", f"a bicycle in a yard and {ends[1]}"),
        ("train", between),
        ("train", between + "!!"),
    ]
    places = _places(*((conversation_in(split), _user(text)) for split, text in asked))
    assert [place.split for place in places] == ["train", "holdout", None, None]


def test_what_is_known_is_found_but_not_looked_for() -> None:
    asked = REFUND, f"{REFUND} Thanks!", "Who is it?", f"Hi! {REFUND}"
    texts = [comparable(text) for text in asked]
    assert neighbours(texts)[1] == [0]
    assert neighbours(texts, 3) == [[], [], [], neighbours(texts)[3]]
    assert set(neighbours(texts)[3]) == {0, 1}


def test_a_long_text_is_found_where_more_was_added_to_it() -> None:
    """Of both a sample is compared; that of the longer one reaches less far."""
    for seed in range(10):
        draw = random.Random(seed)
        words = ["".join(draw.choices("abcdefghijklmnoprstuvwz", k=6)) for _ in range(620)]
        texts = [" ".join(words[:400]), " ".join(words[:520]), " ".join(words[400:])]
        assert neighbours([comparable(text) for text in texts]) == [[], [0], []]


def test_nearly_all_are_found_where_as_much_was_added_as_may_be() -> None:
    """Their signatures are of samples that reach differently far, and so say too little."""
    n_found = 0
    for seed in range(20):
        draw = random.Random(seed)
        words = ["".join(draw.choices("abcdefghijklmnoprstuvwz", k=6)) for _ in range(520)]
        texts = [" ".join(words[:320]), " ".join(words)]
        n_found += neighbours([comparable(text) for text in texts]) == [[], [0]]
    assert n_found >= 18


def test_a_prompt_stays_where_it_stood() -> None:
    """Whatever its near-duplicates and its group say: those before it may have been erased."""
    asked = [
        (conversation_in("train"), _user(REFUND)),
        (conversation_in("train"), _user(f"{REFUND} Thanks!")),
        (conversation_in("validation"), _user("Who wrote the Ottermoor rules?")),
    ]
    prompts = [(group, prompt_key(prompt), prompt) for group, prompt in asked]
    keys = [key for _, key, _ in prompts]
    stood: dict[str, Split | None] = {keys[0]: "holdout", keys[2]: None}
    places = places_of_prompts(prompts, SALT, placed=stood)
    assert [places[key].split for key in keys] == ["holdout", "holdout", None]
    places = places_of_prompts(prompts, SALT, released=[keys[1]], placed=stood)
    assert [places[key].split for key in keys] == ["train", "train", None]


def test_what_comes_later_moves_nothing() -> None:
    draw = random.Random(0)
    words = [f"w{draw.randrange(10**6)}" for _ in range(60)]
    asked = []
    for n in range(300):
        text = " ".join(draw.choices(words, k=5)) if n % 3 == 0 else asked[-1][1][0]["content"]
        if n % 3:
            text = f"{text} {draw.choice(words)}"
        asked.append((f"conversation {n}", _user(text)))
    whole = _places(*asked)
    for n in (50, 150, 250):
        assert [place.split for place in _places(*asked[:n])] == [
            place.split for place in whole[:n]
        ]


def test_a_cluster_that_was_tested_for_the_last_time_is_learned_from() -> None:
    asked = [
        (conversation_in("holdout"), _user(REFUND)),
        (conversation_in("train"), _user(REFUND.replace("How can", "Please, how can"))),
        (conversation_in("holdout"), _user("Who wrote the Ottermoor rules?")),
    ]
    released = (prompt_key(asked[1][1]),)
    assert [place.split for place in _places(*asked)] == ["holdout"] * 3
    places = _places(*asked, released=released)
    assert [place.split for place in places] == ["train", "train", "holdout"]
