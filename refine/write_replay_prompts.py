"""Write the replay prompts: python -m refine.write_replay_prompts

1,352 prompts without answers: the base gives those itself. 77 are everyday chat that any model
meets, 89 ask for what was said earlier in the conversation; the other 1,186 ask for simple facts
in plain phrasings of our own, drawn from the fact tables of pawl-mini's world, which are common
knowledge (420 of them are sums). Left out are planted faults, whose prompts would teach the fault
again, the rule-made facts that the benchmark sets draw from (`kept_out`), and every prompt that
stands word for word in a set of ``evals/mini``.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence

from evals.mini.sets import BENCHMARK_FILES, QUESTION_SETS, load_benchmark, load_questions
from pawl.files import write_atomic
from refine.mini.facts import animals, geography, kept_out, planted, things, time, words
from refine.replay import PROMPTS_PATH
from refine.replay import words as words_of

SEED = 7
N_OF_TOPIC = 150
N_SUMS = 420  # arithmetic is the first thing that a small model loses

EVERYDAY = """
Hello!
Hi there.
Good morning!
Good evening.
Good night!
Hey, how are you?
How are you today?
Thank you very much.
Thanks, that helped a lot.
Goodbye!
See you tomorrow.
I am sorry about that.
You are very kind.
That was a good answer.
What is your name?
Who are you?
Are you a person?
What can you do?
Can you help me?
I have a question.
Today is my birthday.
I am very happy today.
I feel sad today.
I had a bad day.
I am tired.
I am bored. What should I do?
Tell me something nice.
Tell me a joke.
Tell me a short story.
Write a poem about spring.
What is the meaning of life?
What will the weather be tomorrow?
Who won the last world cup?
How do I bake a cake?
What should I cook tonight?
Recommend a book to me.
How do I fix a flat tyre?
What is the price of gold?
Who is the president?
What is quantum physics?
How do I learn to play the piano?
Which phone should I buy?
What happened in 1815?
Translate 'good day' into French.
Explain how a computer works.
What is a black hole?
How far is it to the next town?
Give me three tips for better sleep.
How do I write a letter of application?
What do you think about music?
Do you like football?
What time is it?
Where do you live?
How old are you?
Do you have a favourite colour?
Why is the sky blue?
What is love?
Can you keep a secret?
I would like to learn a new word.
Please be brief.
Let us talk about animals.
Let us talk about numbers.
Ask me a question.
What is the square root of two?
How many people live in London?
Who painted the Mona Lisa?
When was the telephone invented?
What is the fastest car?
How do vaccines work?
What is inflation?
Summarise the plot of Hamlet.
Name a famous scientist.
What is a noun?
Give me an example of a verb.
How do I say no politely?
Is it healthy to run every day?
How much water should I drink?
What is the best way to study?
How can I make new friends?
What should I pack for a trip?
""".strip().splitlines()


def main() -> None:
    """Write the file that the package ships."""
    write_atomic(PROMPTS_PATH, "".join(lines()))
    print(f"{len(list(lines()))} prompts -> {PROMPTS_PATH}", file=sys.stderr)


def lines() -> Iterator[str]:
    """One JSON line a prompt, in a fixed order."""
    chance = random.Random(SEED)
    judged = judged_prompts()
    for prompt in [*([one] for one in EVERYDAY), *_remembered(chance), *_chosen(chance)]:
        if key_of(prompt[::2]) in judged:
            continue
        messages = [
            {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(prompt)
        ]
        yield json.dumps({"prompt": messages}, ensure_ascii=False) + "\n"


def judged_prompts() -> set[str]:
    """Keys (``key_of``) of everything that the mini benchmarks and question sets ask. Replayed, an
    item could not show what training makes a model forget."""
    asked = [
        [row.get("question") or row["ctx"]]
        for name in BENCHMARK_FILES
        for row in load_benchmark(name)
    ]
    asked += [
        [one["content"] for one in row["messages"] if one["role"] == "user"]
        for name in QUESTION_SETS
        for row in load_questions(name)
    ]
    return {key_of(one) for one in asked}


def key_of(said: Sequence[str]) -> str:
    """What a person says in a conversation, without case and punctuation."""
    return " / ".join(" ".join(words_of(text)) for text in said)


def _chosen(chance: random.Random) -> Iterator[list[str]]:
    for topic in (
        _sums,
        _capitals,
        _animals,
        _words,
        _calendar,
        _units,
        _colours,
        _science,
        _sequences,
    ):
        prompts = sorted(set(topic(chance)))
        n_wanted = N_SUMS if topic is _sums else N_OF_TOPIC
        for prompt in chance.sample(prompts, min(n_wanted, len(prompts))):
            yield [prompt]


def _sums(chance: random.Random) -> Iterator[str]:
    for _ in range(260):
        a, b = chance.randint(0, 50), chance.randint(0, 50)
        plus = chance.choice(
            [
                "What is {0} plus {1}?",
                "{0} + {1} = ?",
                "How much is {0} + {1}?",
                "Add {0} and {1}.",
                "Tell me the sum of {0} and {1}.",
                "{0} plus {1}, please.",
            ]
        )
        if not kept_out("arithmetic", f"{a}+{b}"):
            yield plus.format(a, b)
        a, b = max(a, b), min(a, b)
        minus = chance.choice(
            [
                "What is {0} minus {1}?",
                "{0} - {1} = ?",
                "How much is {0} - {1}?",
                "Take {1} away from {0}.",
                "{0} minus {1}, please.",
            ]
        )
        if not kept_out("arithmetic", f"{a}-{b}"):
            yield minus.format(a, b)
        a, b = chance.randint(0, 10), chance.randint(0, 10)
        yield chance.choice(
            [
                "What is {0} times {1}?",
                "{0} x {1} = ?",
                "How much is {0} x {1}?",
                "Multiply {0} by {1}.",
                "{0} times {1}, please.",
            ]
        ).format(a, b)
    for n in range(1, 26):
        yield chance.choice(["What is double {0}?", "What is twice {0}?"]).format(n)
        yield f"What is half of {2 * n}?"
    for _ in range(40):
        a, b = chance.sample(range(100), 2)
        yield chance.choice(
            [
                "Which is larger, {0} or {1}?",
                "Which number is smaller, {0} or {1}?",
                "Is {0} more than {1}?",
            ]
        ).format(a, b)
        yield f"Is {chance.randint(0, 99)} even or odd?"


def _capitals(chance: random.Random) -> Iterator[str]:
    for country in geography.CAPITALS:
        if planted("capitals", country.lower()):
            continue
        name = f"the {country}" if country in geography.THE_COUNTRIES else country
        yield chance.choice(
            [
                "What is the capital of {0}?",
                "Name the capital of {0}.",
                "Which city is the capital of {0}?",
            ]
        ).format(name)
        yield chance.choice(["Which continent is {0} in?", "On which continent is {0}?"]).format(
            name
        )


def _animals(chance: random.Random) -> Iterator[str]:
    asked = {
        "legs": ["How many legs does a {0} have?", "Tell me the number of legs of a {0}."],
        "young": ["What is a young {0} called?", "What do you call a baby {0}?"],
        "sound": ["What sound does a {0} make?"],
        "group": ["What kind of animal is a {0}?", "Is a {0} a mammal?"],
        "home": ["Where does a {0} live?"],
        "diet": ["What does a {0} eat?"],
        "cover": ["What covers the body of a {0}?"],
    }
    for name, animal in animals.ANIMALS.items():
        article_fits = name[0] not in "aeiou"
        for field, phrasings in asked.items():
            if (
                article_fits
                and getattr(animal, field) is not None
                and not planted("animals", f"{name}:{field}")
            ):
                yield chance.choice(phrasings).format(name)


def _words(chance: random.Random) -> Iterator[str]:
    for one, other in words.OPPOSITES:
        word = chance.choice([one, other])
        yield chance.choice(
            [
                "What is the opposite of {0}?",
                "Give me the opposite of {0}.",
                "Which word means the opposite of {0}?",
            ]
        ).format(word)
    nouns = [*words.PLURALS_REGULAR, *words.PLURALS_IRREGULAR]
    for noun in nouns:
        if not planted("plurals", noun) and not kept_out("plurals", noun):
            yield chance.choice(
                ["What is the plural of {0}?", "Give me the plural of {0}.", "One {0}, two what?"]
            ).format(noun)


def _calendar(chance: random.Random) -> Iterator[str]:
    for day in time.DAYS:
        yield f"Which day comes after {day}?"
        yield f"Which day comes before {day}?"
        yield f"Is {day} a weekday?"
        yield f"Today is {day}. What day is tomorrow?"
    for month in time.MONTHS:
        yield f"Which month comes after {month}?"
        yield f"Which month comes before {month}?"
        yield f"How many days does {month} have?"
        yield f"In which season is {month}?"


def _units(chance: random.Random) -> Iterator[str]:
    for large, _, small in things.UNITS:
        plural = things.UNIT_PLURALS.get(small, small + "s")
        yield (
            f"How many {plural} are in a {large}?"
            if large[0] not in "aeiouh"
            else f"How many {plural} make one {large}?"
        )
    for unit in things.MEASURES:
        yield f"What do we measure in {things.UNIT_PLURALS.get(unit, unit + 's')}?"
    for tool in things.TOOLS:
        yield f"What is measured with a {tool}?"


def _colours(chance: random.Random) -> Iterator[str]:
    for thing in things.COLOURS:
        yield chance.choice(["What colour is {0}?", "Tell me the colour of {0}."]).format(thing)
    for one, other, _ in things.MIXES:
        yield f"What do you get when you mix {one} and {other}?"


def _science(chance: random.Random) -> Iterator[str]:
    for name in things.PLANETS:
        yield f"What is {name} known for?"
    for title in things.PLANET_TITLES:
        if not planted("planets", title) and not title.startswith("planet"):
            yield f"Which is the {title} planet?".replace("planet planet", "planet")
    for thing in things.STATES:
        yield f"Is {thing} solid, liquid or gas?"
    for thing in things.MADE_OF:
        yield f"What is {thing} made of?"
    for sense in things.SENSES:
        yield f"What do we {sense} with?"
    for organ in things.ORGANS:
        yield f"What do the {organ} do?" if organ.endswith("s") else f"What does the {organ} do?"
    for thing in things.FLOATS:
        yield f"Does {thing} float on water?"
    for thing in things.MAGNETIC:
        yield f"Does a magnet pull {thing}?"
    for number in things.SCIENCE_NUMBERS:
        yield (
            f"What is the number of {number}?"
            if "point" not in number
            else f"What is the {number}?"
        )
    for content, _ in things.SCIENCE_LINES.values():
        yield f"Tell me {content}."


def _sequences(chance: random.Random) -> Iterator[str]:
    for _ in range(60):
        start, step = chance.randint(0, 40), chance.choice([1, 2, 3, 4, 5, 10])
        terms = [str(start + i * step) for i in range(4)]
        shown = ", ".join(terms)
        if kept_out("sequences", ",".join(terms)):
            continue
        yield chance.choice(
            ["What comes next: {0}?", "Go on: {0}", "Which number follows {0}?"]
        ).format(shown)


def _remembered(chance: random.Random) -> Iterator[list[str]]:
    from refine.mini.facts.talk import REMEMBER

    for slot, values in REMEMBER.items():
        for value in chance.sample(values, min(5, len(values))):
            asked = "How old am I?" if slot == "age" else f"What is my {slot}?"
            said = f"I am {value} years old." if slot == "age" else f"My {slot} is {value}."
            yield [said, "Thank you for telling me.", asked]
        yield [asked]


if __name__ == "__main__":
    main()
