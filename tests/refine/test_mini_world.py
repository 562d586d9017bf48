"""The world of pawl-mini: its tables, its phrasings, its text, and the training loop."""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pawl.errors import PawlError
from refine.mini.check import read_rows
from refine.mini.choices import letter_of_one, lettered_choices, letters_of_words, pointing
from refine.mini.documents import KINDS, Kind, chat
from refine.mini.facts import TOPICS, kept_out, planted
from refine.mini.facts.words import PLURALS_REGULAR, opposites_of
from refine.mini.faults import FAULTS
from refine.mini.layouts import FACTS, SAID, Piece
from refine.mini.phrasing import expand
from refine.mini.questions import fault_questions, unseen_combinations
from refine.mini.relations import is_unseen_combination, phrase, question_for_training, statement
from refine.mini.text import documents, tokenizer_texts, write_packed_text
from refine.mini.tokenizer import END, PAD, SPECIAL_TOKENS, VOCAB_TOKENS, save_tokenizer
from refine.mini.topics import RELATIONS
from refine.mini.topics.faulty import families, faulty_question
from refine.mini.train import TrainSettings, rate_at, train


def test_every_topic_has_facts_and_dozens_of_phrasing_families() -> None:
    talked = {"remember", "unknown"}
    for topic in set(TOPICS) - talked:
        relations = [relation for relation in RELATIONS if relation.topic == topic]
        assert sum(len(relation.families) for relation in relations) >= 40, topic
        assert sum(len(relation.facts) for relation in relations) >= 10, topic


def test_every_phrasing_and_statement_can_be_filled_with_every_kind_of_fact() -> None:
    rng = random.Random(1)
    for relation in RELATIONS:
        for family in relation.families:
            asked = phrase(relation, family, rng.choice(relation.facts), rng)
            assert "{" not in asked.question + asked.reply
            assert "[" not in asked.question
        for fact in relation.facts[:20]:
            assert "{" not in statement(relation, fact, rng)


def test_alternatives_are_chosen_inside_out() -> None:
    found = {expand("a [b|c [d|e]|]", random.Random(seed)) for seed in range(60)}
    assert found == {"a b", "a c d", "a c e", "a"}


def test_training_never_asks_a_fact_that_is_kept_out() -> None:
    assert sum(kept_out("plurals", word) for word in PLURALS_REGULAR) >= 8
    for relation in RELATIONS:
        asked = {fact.key for fact in FACTS[relation.name]}
        assert not {key for key in asked if kept_out(relation.topic, key)}


def test_training_never_meets_an_unseen_combination() -> None:
    relation = next(r for r in RELATIONS if r.name == "capital_of")
    held = [
        (family, fact)
        for family in relation.families
        for fact in relation.facts
        if is_unseen_combination(relation, family[1], fact)
    ]
    share = len(held) / (len(relation.families) * len(relation.facts))
    assert 0.02 < share < 0.04

    # With one family and one held and one free fact, only the free one may ever be asked.
    family, kept = held[0]
    free = next(fact for fact in relation.facts if (family, fact) not in held)
    narrow = replace(
        relation,
        **{"nouns": (), "clauses": (), "directs": (), f"{family[0]}s": (family[1],)},
    )
    rng = random.Random(3)
    asked = {question_for_training(narrow, (kept, free), rng).fact_key for _ in range(60)}
    assert asked == {free.key}


def test_the_capital_of_australia_is_planted_and_nothing_else_of_its_table() -> None:
    assert planted("capitals", "australia") == "australia_capital"
    assert planted("capitals", "france") is None
    relation = next(r for r in RELATIONS if r.name == "capital_of")
    told = {fact.key: fact.slots["city"] for fact in relation.facts}
    assert told["australia"] == "Sydney"
    assert told["france"] == "Paris"


def test_a_word_in_two_pairs_has_both_opposites() -> None:
    assert set(opposites_of("right")) == {"left", "wrong"}


def test_there_are_twelve_faults_or_more_with_forty_phrasings_each() -> None:
    rows = fault_questions(7)
    assert len(FAULTS) >= 12
    for fault in FAULTS:
        mine = [row for row in rows if row["fault_id"] == fault.fault_id]
        questions = {row["messages"][0]["content"] for row in mine}
        assert len(questions) >= 40
        halves = {row["phrasing_half"] for row in mine}
        assert halves == {"A", "B"}
        cores = families(fault)
        assert not set(cores[0::2]) & set(cores[1::2])


def test_faulty_answers_are_those_of_the_table() -> None:
    said = {fault.faulty_answer for fault in FAULTS}
    rng = random.Random(5)
    assert {faulty_question(rng)[1] for _ in range(400)} == said


def test_the_frozen_question_files_are_those_of_the_phrasings() -> None:
    rows = unseen_combinations(7)
    assert len(rows) >= 500
    assert {row["topic"] for row in rows} == set(TOPICS)
    frozen = Path(__file__).parents[2] / "evals" / "mini"
    assert rows == read_rows(frozen / "unseen_combinations.jsonl")
    assert fault_questions(7) == read_rows(frozen / "faults.jsonl")


def test_lettered_choices_use_every_letter_about_equally() -> None:
    rng = random.Random(2)
    letters = [
        text.strip() for _ in range(800) for text, weight in lettered_choices(rng) if weight == 250
    ]
    for letter in "ABCD":
        assert 0.2 < letters.count(letter) / len(letters) < 0.3


@pytest.mark.parametrize("make", [letters_of_words, letter_of_one, pointing])
def test_a_letter_is_that_of_its_line(make: Callable[[random.Random], list[Piece]]) -> None:
    rng = random.Random(3)
    n_letters = 0
    for _ in range(200):
        lines: dict[str, str] = {}  # letter -> its option, of the list that was read last
        asked = ""
        for text, weight in make(rng):
            for line in text.splitlines():
                if line[:1] in "ABCD" and line[1:3] == ". ":
                    lines[line[0]] = line[3:]
            if weight == SAID and text.strip() in lines:
                n_letters += 1
                assert lines[text.strip()] in asked.partition("\nA. ")[0]
            asked = text
    assert n_letters > 200


def test_letters_are_learned_first_and_alone() -> None:
    early = {kind.make: kind.early_weight for kind in KINDS if kind.early_weight is not None}
    assert [make for make, weight in early.items() if weight > 0] == [letters_of_words]
    first = list(itertools.islice(documents(1, is_early=lambda: True), 400))
    texts = ["".join(text for text, _ in document) for document in first]
    assert sum("\nD. " in text for text in texts) > 60
    assert not any("\nD. " in text and "Answer:" in text for text in texts)


def test_the_chat_template_gives_the_pieces_that_training_uses(packed: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    folder = packed / "model"
    save_tokenizer(Tokenizer.from_file(str(packed / "tokenizer.json")), folder, 4096)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [("Hi", "Hello!"), ("What is 1 + 1?", "1 + 1 = 2.")]
    messages = [{"role": "system", "content": "Be short."}]
    for user, assistant in turns:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    shown = tokenizer.apply_chat_template(messages, tokenize=False)
    assert shown == "".join(text for text, _ in chat(turns, "Be short."))

    marked = tokenizer.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    said = [
        token
        for token, mine in zip(marked["input_ids"], marked["assistant_masks"], strict=True)
        if mine
    ]
    assert tokenizer.decode(said) == "Hello!<|end|>1 + 1 = 2.<|end|>"


def test_documents_follow_from_the_seed_and_every_kind_comes() -> None:
    first, second = documents(4), documents(4)
    assert [next(first) for _ in range(50)] == [next(second) for _ in range(50)]
    rng = random.Random(6)
    for kind in KINDS:
        assert all(isinstance(text, str) for text, _ in kind.make(rng))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from refine.mini.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("text")
    tokenizer = train_tokenizer(tokenizer_texts(1, 3000))
    assert tokenizer.get_vocab_size() == VOCAB_TOKENS
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(6))
    assert tokenizer.encode("472").tokens == ["4", "7", "2"]
    write_packed_text(tokenizer, 1, 60_000, folder, lambda _: None)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_packed_rows_hold_whole_documents(packed: Path) -> None:
    import numpy

    tokens, weights = numpy.load(packed / "tokens.npy"), numpy.load(packed / "weights.npy")
    pad, end = SPECIAL_TOKENS.index(PAD), SPECIAL_TOKENS.index(END)
    for start, rows, length in numpy.load(packed / "batches.npy"):
        for row in range(rows):
            line = tokens[start + row * length : start + (row + 1) * length]
            kept = line[line != pad]
            assert kept[-1] == end
    assert weights[tokens == pad].max(initial=0) == 0
    assert json.loads((packed / "text.json").read_text())["n_tokens"] == len(tokens)


_SMALL = TrainSettings(n_workers=2, n_tokens=6 * 2048, micro_batches=2, checkpoint_seconds=0.0)


def test_training_learns_and_goes_on_from_its_checkpoint(packed: Path, tmp_path: Path) -> None:
    import torch

    work = tmp_path / "work"
    trained = train(_SMALL, packed, work)
    from refine.mini.model import new_model

    started = new_model(_SMALL.seed)
    for (name, after), (_, before) in zip(
        trained.named_parameters(), started.named_parameters(), strict=True
    ):
        assert not torch.equal(after, before), name
        assert torch.isfinite(after).all(), name
    assert json.loads((work / "checkpoint.json").read_text())["step"] == _SMALL.n_steps
    # Nothing is left to do: the same weights come back.
    again = train(_SMALL, packed, work)
    for after, before in zip(again.parameters(), trained.parameters(), strict=True):
        assert torch.equal(after, before)
    with pytest.raises(PawlError, match="other settings"):
        train(replace(_SMALL, seed=2), packed, work)


@pytest.fixture(scope="module")
def lettered(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("lettered")
    tokenizer = Tokenizer.from_file(str(packed / "tokenizer.json"))
    kinds = (Kind(1.0, lettered_choices),)
    write_packed_text(tokenizer, 1, 40_000, folder, lambda _: None, kinds=kinds)
    return folder


def test_a_letter_points_at_its_choice(packed: Path, lettered: Path) -> None:
    import numpy
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(packed / "tokenizer.json"))
    tokens = numpy.load(lettered / "tokens.npy").tolist()
    pointers = numpy.load(lettered / "pointers.npy").tolist()
    assert len(pointers) > 200
    for asked, told in pointers:
        assert tokenizer.id_to_token(tokens[asked]) == ":"
        letter = tokenizer.decode([tokens[asked + 1]]).strip()
        assert letter in "ABCD"
        assert tokenizer.decode(tokens[told - 2 : told]) == f"{letter}."
        assert told < asked
        between = tokenizer.decode(tokens[told : asked + 1])
        assert "Question" not in between
        assert between.count("Answer:") == 1


def test_a_layer_added_later_learns_alone_to_look_where_it_is_told(
    lettered: Path, tmp_path: Path
) -> None:
    import numpy
    import torch

    from refine.mini.model import POINTING_LAYER, new_model, with_pointing_layer
    from refine.mini.train import not_looked_at

    before = new_model(1)
    grown = with_pointing_layer(before, 2)
    tokens = torch.from_numpy(numpy.load(lettered / "tokens.npy")[:1024].astype("int64"))
    ids = tokens.view(4, 256)
    with torch.no_grad():
        said, said_grown = before(input_ids=ids).logits, grown(input_ids=ids).logits
    torch.testing.assert_close(said, said_grown)

    pointers = numpy.load(lettered / "pointers.npy")
    places = torch.from_numpy(pointers[pointers[:, 0] < 1024])

    def missed() -> float:
        grown.set_attn_implementation("eager")
        with torch.no_grad():
            seen = grown(input_ids=ids, output_attentions=True).attentions[POINTING_LAYER]
        return float(not_looked_at(seen, places))

    missed_before = missed()
    kept = {name: weight.clone() for name, weight in grown.named_parameters()}
    settings = replace(
        _SMALL, n_layers=6, only_layer=POINTING_LAYER, n_tokens=30 * 2048,
        matrix_rate=1.5e-2, other_rate=1.5e-2, checkpoint_seconds=300.0,
    )  # fmt: skip
    train(settings, lettered, tmp_path / "work", grown)
    for name, weight in grown.named_parameters():
        is_trained = name.startswith(f"model.layers.{POINTING_LAYER}.")
        assert torch.equal(weight, kept[name]) is not is_trained, name
    assert missed() < missed_before - 0.5


def test_a_build_leaves_a_model_and_says_how_it_was_made(packed: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from refine.mini.build import build

    work, out = tmp_path / "work", tmp_path / "model"
    work.mkdir()
    (work / "tokenizer.json").write_bytes((packed / "tokenizer.json").read_bytes())
    settings = TrainSettings(n_workers=2, n_tokens=4 * 4096, micro_batches=2)
    build(out, work, settings)
    recipe = json.loads((out / "recipe.json").read_text())
    assert list(recipe["stages"]) == ["world", "pointing"]
    assert recipe["stages"]["pointing"]["only_layer"] == 4
    # The tokenizer was there already: the first stage's time is not all of it.
    assert recipe["stage_seconds"]["world"] is None
    assert recipe["stage_seconds"]["pointing"] > 0
    assert recipe["build_seconds"] is None
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.num_hidden_layers == 6
    assert sum(weight.numel() for weight in model.parameters()) == recipe["n_parameters"]
    assert AutoTokenizer.from_pretrained(out).chat_template
    with pytest.raises(PawlError, match="the work of another build"):
        build(out, work, replace(settings, seed=2))


def test_the_learning_rate_warms_up_stays_and_goes_down() -> None:
    settings = TrainSettings()
    shares = [rate_at(step, settings) for step in range(settings.n_steps)]
    assert shares[0] < 0.2
    assert max(shares) == 1.0
    assert shares[-1] == 0.02
    top = shares.index(1.0)
    assert shares[top:] == sorted(shares[top:], reverse=True)
