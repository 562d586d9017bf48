"""The small grammar that questions are built from: cores in frames, with manners and typing habits.

A relation (see `relations`) gives cores of three kinds, written with alternatives in brackets
("[town|city|]", nesting allowed) and slots in braces:

- a noun phrase: "the capital of {country}"
- a clause: "which city is the capital of {country}" (as said after "tell me")
- a direct question: "what is the capital of {country}?"

`ask` puts one core into a frame ("could you tell me CORE?"), may add an opening ("hello,") or an
ending ("thanks"), and types it the way people type: capitals or none, question mark or none, now
and then a slip.
"""

import random
import re

from refine.mini.facts import kept_out
from refine.mini.facts.talk import REMEMBER
from refine.mini.facts.words import PLURALS_REGULAR

_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_SPACES = re.compile(r" +")


def expand(pattern: str, rng: random.Random) -> str:
    """Choose one of the alternatives of every bracket: "[a|b] c" -> "b c"."""
    while True:
        found = _INNERMOST.search(pattern)
        if found is None:
            return _SPACES.sub(" ", pattern).strip()
        chosen = rng.choice(found.group(1).split("|"))
        pattern = pattern[: found.start()] + chosen + pattern[found.end() :]


NOUN_FRAMES: tuple[str, ...] = (
    "what is @?",
    "what is @?",
    "what's @?",
    "whats @?",
    "what would be @?",
    "what might @ be?",
    "so what is @?",
    "@?",
    "@",
    "@, please",
    "@ please?",
    "@ is what?",
    "@ is?",
    "@ is ...",
    "@:",
    "tell me @.",
    "please tell me @.",
    "[please |just |quickly ]tell me @[, please| please|].",
    "[can|could|would|will] you [please |kindly |]tell me @?",
    "[can|could|would] you [please |]say what @ is?",
    "[can|could] you [please |]name @?",
    "[can|could|may] [I|i] [get|have|know|ask for|ask] @[, please|]?",
    "name @.",
    "please name @.",
    "give me @[, please|].",
    "please give [me |]@.",
    "say @.",
    "state @.",
    "write [down |]@.",
    "find @[ for me|].",
    "do you [happen to |]know @?",
    "do you [happen to |]know what @ is?",
    "any idea what @ is?",
    "[I'd|I would] like to [know|learn|hear] [what @ is|@].",
    "I [want|need] to know [what @ is|@].",
    "I [need|am looking for|have to find|must find] @.",
    "I am [wondering|asking myself] what @ is.",
    "I was wondering what @ [is|might be].",
    "I wonder what @ is.",
    "I [don't|do not] know @. [can you help|what is it|do you know it|can you tell me]?",
    "I forgot @. [what is it|can you remind me|do you know]?",
    "I forgot what @ is.",
    "remind me what @ is.",
    "[please |]remind me of @.",
    "help me [with|find] @[, please|].",
    "my [teacher|son|daughter|friend|sister|brother|child|boss] [asked|wants to know] what @ is.",
    "my [teacher|son|daughter|friend] asked me [for|about] @. [what should I say|what is it]?",
    "what do [you|people|we|they] [call|give as] @?",
    "what do you think is @?",
    "how would you answer this: what is @?",
    "answer [this|the question|this question]: what is @?",
    "question: what is @?",
    "quiz question: what is @?",
    "quiz: @?",
    "in [one|a] word, what is @?",
    "in short, what is @?",
    "[quick question|a question|one question|small question|a quick one]: what is @?",
    "let me know @[, please|].",
    "let me know what @ is.",
    "complete [this|the sentence]: @ is",
    "fill in [the gap|the blank|the missing word]: @ is ___.",
    "finish [this|the|my] sentence: @ is",
    "tell us @.",
    "explain what @ is.",
    "which one is @?",
    "what exactly is @?",
    "how about @?",
    "what about @?",
    "and @?",
    "now @.",
)

CLAUSE_FRAMES: tuple[str, ...] = (
    "tell me @.",
    "[please |just |]tell me @[, please|].",
    "[can|could|would|will] you [please |kindly |]tell me @?",
    "[can|could] you [say|explain|remind me|help me find out|work out|find out] @?",
    "do you [happen to |]know @?",
    "do you remember @?",
    "have you any idea @?",
    "any idea @?",
    "say @.",
    "[I'd|I would] like to [know|find out|learn|hear] @.",
    "I [want|need|have] to [know|find out|learn] @.",
    "I am [wondering|trying to find out|curious|not sure|asking myself] @.",
    "I was wondering @.",
    "I was asked @.",
    "I wonder @.",
    "I forgot @.",
    "I can't remember @.",
    "I [don't|do not] know @. [can you help|do you know|can you tell me]?",
    "remind me @.",
    "let me know @.",
    "explain @.",
    "help me [find out|understand|see] @.",
    "my [teacher|son|daughter|friend|sister|brother|child] [asked me|wants to know|asks] @.",
    "it would be [nice|good|great] to know @.",
    "please [answer|say] @.",
    "we are [talking about|discussing] @. [what do you say|what do you think]?",
    "@?",
    "for my homework I must [write|say|find out] @.",
)

DIRECT_FRAMES: tuple[str, ...] = (
    "@",
    "@",
    "@",
    "@",
    "@",
    "[so|now|ok|okay|well|and|right], @",
    "please answer: @",
    "please tell me: @",
    "tell me, @",
    "can you tell me: @",
    "do you know this? @",
    "[quick question|a question|one question|my question is|question|quiz question|next question]: @",
    "answer [this|this question|the question|the following]: @",
    "I have a question. @",
    "I would like to know: @",
    "[here is|here's] [a question|one] [for you|]: @",
    "my [teacher|son|daughter|friend] asked: @",
    "in [a word|one word|short]: @",
    "help me [please|]: @",
    "what do you think? @",
    "@ do you know?",
    "@ tell me.",
    "@ [any idea|any ideas|can you help|can you tell me]?",
)

FRAMES: dict[str, tuple[str, ...]] = {
    "noun": NOUN_FRAMES,
    "clause": CLAUSE_FRAMES,
    "direct": DIRECT_FRAMES,
}

_OPENINGS = (
    "hi, ",
    "hello, ",
    "hey, ",
    "hi! ",
    "hello! ",
    "hey there, ",
    "good morning, ",
    "good evening, ",
    "excuse me, ",
    "sorry, ",
    "please, ",
    "ok, ",
    "thanks. ",
    "great. ",
    "hi Pawl, ",
    "Pawl, ",
    "dear Pawl, ",
    "good day, ",
    "by the way, ",
    "one more thing: ",
    "oh, ",
    "hmm, ",
)
_ENDINGS = (
    " thanks!",
    " thank you.",
    " please.",
    " thanks",
    " I need it for school.",
    " just the answer.",
    " please be short.",
    " I forgot.",
    " I am not sure.",
    " it is for my homework.",
)
_SLIPS = (
    ("what is", "whats"),
    ("what", "waht"),
    ("which", "wich"),
    ("the ", "teh "),
    ("please", "pls"),
    ("please", "plese"),
    ("you", "u"),
    ("does", "dose"),
    ("many", "meny"),
    ("tell me", "tel me"),
    ("the ", ""),
    (" a ", " "),
    (" is ", " "),
    ("are ", "r "),
    ("'", ""),
)


_PEOPLE = REMEMBER["name"]
# Plurals kept out of training don't come in by this door either.
_THINGS = tuple(pair for pair in PLURALS_REGULAR.items() if not kept_out("plurals", pair[0]))


def filler(rng: random.Random) -> dict[str, str]:
    """Slots that carry no fact: two people, a thing and its plural, a small number."""
    name, other = rng.sample(_PEOPLE, 2)
    thing, things = rng.choice(_THINGS)
    small = str(rng.randint(5, 60))
    return {"name": name, "other": other, "thing": thing, "things": things, "small": small}


def typed(text: str, rng: random.Random) -> str:
    """The sentence as somebody types it: capital or not, end mark or not, rarely with a slip."""
    roll = rng.random()
    if roll < 0.62:
        text = text[:1].upper() + text[1:]
    elif roll < 0.70:
        text = text.lower()
    roll = rng.random()
    if roll < 0.18:
        text = text.rstrip("?.!")
    elif roll < 0.21 and text.endswith("?"):
        text = text[:-1] + rng.choice((" ?", "??", "?!", "."))
    if rng.random() < 0.05:
        old, new = rng.choice(_SLIPS)
        text = text.replace(old, new, 1)
    return text.strip() or "?"


def ask(kind: str, core: str, rng: random.Random) -> str:
    """A question as typed. `kind`: "noun", "clause" or "direct"; `core`: slots already filled."""
    frames = FRAMES[kind]
    # The plain frame is met most: half of all direct questions come bare.
    frame = frames[0] if rng.random() < 0.2 else rng.choice(frames)
    text = expand(frame, rng).replace("@", core)
    if rng.random() < 0.12:
        text = rng.choice(_OPENINGS) + text
    if rng.random() < 0.06:
        text = text.rstrip() + rng.choice(_ENDINGS)
    return typed(text, rng)
