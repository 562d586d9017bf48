"""Remembering: what the user said about themselves, asked for some turns later."""

import random
from dataclasses import dataclass

from refine.mini.facts.talk import NOT_TOLD_ACCEPT, REMEMBER
from refine.mini.phrasing import expand, typed
from refine.mini.relations import unseen

TOPIC = "remember"


@dataclass(frozen=True)
class _Slot:
    """How a slot is told, acknowledged, asked for and recalled; {v} is the value."""

    said: tuple[str, ...]
    acknowledged: str
    asked: tuple[str, ...]
    recalled: str
    not_told: str


def _favourite(kind: str) -> _Slot:
    return _Slot(
        said=(
            f"my favourite {kind} is {{v}}.",
            f"my favorite {kind} is {{v}}.",
            f"my [best-loved|best|most loved] {kind} is {{v}}.",
            f"{{v}} is my favourite {kind}.",
            f"I like {{v}} best. it is my favourite {kind}.",
            f"the {kind} [that |]I like [best|most] is {{v}}.",
            f"of all, {{v}} is the {kind} I [like|love] [best|most].",
            f"for me, the best {kind} is {{v}}.",
            f"[please |]remember [that |this: ]my favourite {kind} is {{v}}.",
            f"[just so you know|by the way|let me tell you], my favourite {kind} is {{v}}.",
            f"note that {{v}} is my favourite {kind}.",
            f"I have a favourite {kind}: {{v}}.",
            f"favourite {kind}: {{v}}",
            f"when it comes to {kind}, I [choose|prefer|love] {{v}}.",
            f"if you ask me for my favourite {kind}, it is {{v}}.",
            f"I [really |][love|like|enjoy|prefer] {{v}} more than any other {kind}.",
            f"[my|the] number one {kind} for me is {{v}}.",
            f"no {kind} is [better than|as good as|nicer than] {{v}}.",
            f"{{v}} is the best {kind}[ for me| in the world| of all|].",
            f"{{v}} is the {kind} [for me|I choose|I pick|I like best|I love].",
            f"[among|of] all [of them|kinds|sorts], I like {{v}} best, my favourite {kind}.",
            f"[keep in mind|don't forget|do not forget|note|bear in mind|I want you to know] that my favourite {kind} is {{v}}.",
            f"you should know that my favourite {kind} is {{v}}.",
            f"I'd say my favourite {kind} is {{v}}.",
            f"what I like most as a {kind} is {{v}}.",
        ),
        acknowledged=f"Your favourite {kind} is {{v}}. I will remember that.",
        asked=(
            f"what is my favourite {kind}?",
            f"what's my favourite {kind}?",
            f"what is my favorite {kind}?",
            f"which {kind} [do I like|is it that I like] [best|most]?",
            f"what {kind} do I like [best|most]?",
            f"which {kind} is my favourite?",
            f"what was my favourite {kind}[ again|]?",
            f"do you [remember|know|still know|recall] my favourite {kind}?",
            f"do you [remember|know|recall] [what|which] {kind} I like [best|most]?",
            f"[can|could] you [tell me|name|say|repeat] my favourite {kind}?",
            f"tell me my favourite {kind}.",
            f"tell me [which|what] {kind} I [like|love] [best|most].",
            f"name my favourite {kind}.",
            f"I told you my favourite {kind}. what is it?",
            f"[which|what] did I say is my favourite {kind}?",
            f"what did I [tell you|say] about my favourite {kind}?",
            f"[which|what] {kind} did I [name|mention|call my favourite|tell you about]?",
            f"my favourite {kind} is",
            f"my favourite {kind}?",
            f"I forgot: what is my favourite {kind}?",
            f"remind me of my favourite {kind}.",
            f"[which|what] {kind} [would I choose|do I prefer|do I love|did I say I like|is my number one|is best for me]?",
            f"[which|what] is the {kind} [that |]I [like|love|prefer] [best|most|]?",
            f"of [all|] the {kind} [names|kinds|things], which do I like best?",
            f"what did I [just |]say my favourite {kind} [is|was]?",
            f"[earlier|before|a while ago|at the start] I [told you|mentioned|named] my favourite {kind}. [what is it|which one|what was it]?",
            f"[have you forgotten|did you keep in mind|can you still name|are you able to recall|can you recall] my favourite {kind}?",
            f"I want to hear my favourite {kind}.",
            f"[repeat|state|give me|recall|say] my favourite {kind}.",
            f"if you remember, what is my favourite {kind}?",
            f"what do you know about my favourite {kind}?",
            f"[guess|now tell me|so tell me|so,|now,] [which|what] {kind} I like best[?|.]",
            f"favourite {kind} of mine?",
            f"what {kind} should [you|one|people] [give|bring|get] me[, knowing what I like best|]?",
        ),
        recalled=f"Your favourite {kind} is {{v}}.",
        not_told=f"You have not told me your favourite {kind}.",
    )


def _pet(pet: str) -> _Slot:
    return _Slot(
        said=(
            f"my {pet}'s name is {{v}}.",
            f"my {pet} is called {{v}}.",
            f"my {pet} is named {{v}}.",
            f"I have a {pet} [called|named] {{v}}.",
            f"I have a {pet}. [its|his|her|the] name is {{v}}.",
            f"{{v}} is [the name of my {pet}|my {pet}'s name|my {pet}].",
            f"we have a {pet}, {{v}}.",
            f"we call our {pet} {{v}}.",
            f"I call my {pet} {{v}}.",
            f"the name of my {pet} is {{v}}.",
            f"[please |]remember that my {pet} is called {{v}}.",
            f"at home there is my {pet}, {{v}}.",
            f"[I|we] [named|gave] [our|my] {pet} [the name |]{{v}}.",
            f"my {pet} [answers|listens] to the name [of |]{{v}}.",
            f"{{v}} is what [I|we] call [my|our] {pet}.",
            f"[I live with|I own|I got] a {pet} [called|named|by the name of] {{v}}.",
            f"[don't forget|keep in mind|note|you should know]: my {pet} is called {{v}}.",
            f"my {pet}? [it is|that is|the name is] {{v}}.",
        ),
        acknowledged=f"Your {pet}'s name is {{v}}. I will remember that.",
        asked=(
            f"what is my {pet}'s name?",
            f"what is the name of my {pet}?",
            f"what is my {pet} called?",
            f"how is my {pet} called?",
            f"what do I call my {pet}?",
            f"who is my {pet}?",
            f"do you [remember|know|recall] my {pet}'s name?",
            f"do you [remember|know|recall] [what|how] my {pet} is called?",
            f"tell me my {pet}'s name.",
            f"tell me the name of my {pet}.",
            f"what was my {pet}'s name[ again|]?",
            f"what name did I [give|tell you for] my {pet}?",
            f"I told you my {pet}'s name. what is it?",
            f"which name does my {pet} have?",
            f"my {pet}'s name is",
            f"what name does my {pet} [have|answer to|go by|listen to]?",
            f"[earlier|before] I [told you|mentioned] my {pet}'s name. what [is|was] it?",
            f"[repeat|state|give me|recall|say] the name of my {pet}.",
            f"[have you forgotten|can you recall|can you say|can you tell me] my {pet}'s name?",
            f"what did I [name|call] my {pet}?",
            f"what did I say my {pet} is called?",
            f"how [do|did] [I|we] name [my|our] {pet}?",
            f"which name [belongs to|has] my {pet}?",
            f"I have a {pet}. what is its name?",
            f"who is waiting for me at home, my {pet}?",
        ),
        recalled=f"Your {pet}'s name is {{v}}.",
        not_told=f"You have not told me your {pet}'s name.",
    )


_SLOTS: dict[str, _Slot] = {
    "name": _Slot(
        said=(
            "my name is {v}.", "I am {v}.", "I'm {v}.", "call me {v}.", "you can call me {v}.",
            "please call me {v}.", "people call me {v}.", "they call me {v}.", "I am called {v}.",
            "my friends call me {v}.", "the name is {v}.", "hello, I am {v}.", "hi, my name is {v}.",
            "hi, I'm {v}.", "hey, I am {v}, nice to meet you.", "this is {v}.", "{v} is my name.",
            "{v} here.", "it is {v}.", "good morning, I am {v}.", "let me introduce myself: I am {v}.",
            "my first name is {v}.", "please remember that my name is {v}.", "remember my name: {v}.",
            "you are talking to {v}.", "just so you know, I am {v}.", "my parents named me {v}.",
            "I go by the name [of |]{v}.", "name: {v}", "hello Pawl, {v} is my name.",
            "[everybody|everyone|my family|my mother|my teacher] calls me {v}.",
            "[don't forget|keep in mind|note|you should know|I want you to know] that [my name is|I am called|I am] {v}.",
            "it's {v} [speaking|here|again].", "I was named {v}.", "the name's {v}.",
            "[my full name|what people call me|how I am called] is {v}.",
            "you are [speaking|chatting|writing] [to|with] {v}.", "allow me: {v}.",
            "[nice|pleased|good] to meet you, I am {v}.", "[nice|pleased|good] to meet you, my name is {v}.",
            "I answer to {v}.", "I have the name {v}.", "for you I am {v}.", "if you need a name, use {v}.",
        ),
        acknowledged="Nice to meet you, {v}!",
        asked=(
            "what is my name?", "what's my name?", "who am I?", "do you know my name?",
            "do you remember my name?", "do you know who I am?", "do you remember who I am?",
            "do you still know my name?", "can you tell me my name?", "could you say my name?",
            "tell me my name.", "say my name.", "tell me who I am.", "what am I called?",
            "how am I called?", "what do people call me?", "what was my name again?",
            "which name did I give you?", "what name did I tell you?", "what did I say my name is?",
            "I told you my name. what is it?", "my name is?", "please repeat my name.",
            "what should you call me?", "have you forgotten my name?", "with whom are you talking?",
            "who are you talking to?", "who is talking to you?", "I forgot my name. what is it?",
            "[earlier|before|a while ago|at the start] I [told you|mentioned|gave you] my name. [what is it|what was it]?",
            "[can|could] you [recall|repeat|still tell me|remind me of] my name?",
            "what do you call me?", "how do you call me?", "by what name do you know me?",
            "under what name do you know me?", "what name do I [have|go by|answer to]?",
            "which name is mine?", "[recall|repeat|state|give me|write] my name.",
            "what did I [just |]say my name [is|was]?", "[so |now ]who am I?", "who is it you are talking to?",
            "did you [keep in mind|note|catch|remember] my name?", "how did I introduce myself?",
            "as who did I introduce myself?", "is my name known to you?", "if you remember, what is my name?",
            "what is the name I [gave|told] you?", "who is this talking to you?", "greet me by my name.",
        ),
        recalled="Your name is {v}.",
        not_told="You have not told me your name.",
    ),
    "city": _Slot(
        said=(
            "I live in {v}.", "I am from {v}.", "I come from {v}.", "my city is {v}.",
            "my home is in {v}.", "my home town is {v}.", "I am living in {v}.", "we live in {v}.",
            "my house is in {v}.", "I have lived in {v} for years.", "{v} is where I live.",
            "{v} is my city.", "I moved to {v}.", "please remember that I live in {v}.",
            "home for me is {v}.", "the city I live in is {v}.",
            "I [reside|stay|grew up|have my home|have a flat|am at home] in {v}.",
            "[my family|my wife and I|my parents and I] live[s|] in {v}.", "I am a resident of {v}.",
            "[don't forget|keep in mind|note|you should know] that I live in {v}.", "my address is in {v}.",
            "I call {v} my home.", "my place is in {v}.", "you can find me in {v}.", "I settled in {v}.",
        ),
        acknowledged="You live in {v}. I will remember that.",
        asked=(
            "where do I live?", "which city do I live in?", "in which city do I live?",
            "what city am I from?", "where am I from?", "where is my home?", "where do I come from?",
            "what is my city?", "what is my home town?", "do you know where I live?",
            "do you remember where I live?", "do you remember my city?", "tell me where I live.",
            "which city is my home?", "where did I say I live?", "I told you where I live. where is it?",
            "where is my house?", "in what city is my home?", "name the city I live in.",
            "[in|] which [town|city|place] do I [reside|stay|live|call home] [in|]?", "what [town|place] am I from?",
            "where [can|would] [you|people] find me?", "[recall|repeat|state|say] where I live.",
            "[earlier|before] I [told you|mentioned] where I live. where [is|was] it?",
            "[can|could] you [recall|repeat|tell me] [where I live|my city|my home town]?",
            "which city did I [name|mention|tell you about]?", "what did I say about where I live?",
            "do you recall [my city|where my home is]?", "where do I have my home?", "what is the city I live in?",
        ),
        recalled="You live in {v}.",
        not_told="You have not told me where you live.",
    ),
    "age": _Slot(
        said=(
            "I am {v} years old.", "I'm {v} years old.", "my age is {v}.", "I am {v}.",
            "I turned {v} this year.", "I am aged {v}.", "I have turned {v}.",
            "please remember that I am {v} years old.", "at the moment I am {v} years old.",
            "my age? {v}.", "I have been alive for {v} years.", "age: {v}",
            "I am {v} [years of age|now|this year].", "I have reached the age of {v}.",
            "[don't forget|keep in mind|note|you should know] that I am {v} years old.",
            "I was born {v} years ago.", "{v} is my age.", "I recently turned {v}.", "I count {v} years.",
        ),
        acknowledged="You are {v} years old. I will remember that.",
        asked=(
            "how old am I?", "what is my age?", "what's my age?", "do you know how old I am?",
            "do you remember how old I am?", "do you remember my age?", "tell me my age.",
            "tell me how old I am.", "how many years old am I?", "can you tell me my age?",
            "what age am I?", "how old did I say I am?", "what did I say about my age?",
            "I told you my age. what is it?", "what was my age again?",
            "[recall|repeat|state|give me|say] my age.", "[can|could] you [recall|repeat|say] my age?",
            "how many years [have I lived|do I count|am I]?", "what age did I [give|tell|mention to] you?",
            "[earlier|before] I [told you|mentioned] my age. what [is|was] it?", "my age is",
            "[have you forgotten|do you recall|did you note] [my age|how old I am]?",
            "which age [did I say|do I have]?", "how old did I tell you I am?",
        ),
        recalled="You are {v} years old.",
        not_told="You have not told me your age.",
    ),
    "job": _Slot(
        said=(
            "I am a {v}.", "I work as a {v}.", "my job is {v}.", "I'm a {v}.", "I am a {v} by profession.",
            "I earn my money as a {v}.", "my work is that of a {v}.", "I have a job as a {v}.",
            "please remember that I am a {v}.", "I have been a {v} for years.", "for a living I am a {v}.",
            "my profession is {v}.", "I was hired as a {v}.",
            "I [make|earn] my living as a {v}.", "they employ me as a {v}.", "my trade is {v}.",
            "[don't forget|keep in mind|note|you should know] that I [am|work as] a {v}.",
            "by day I am a {v}.", "my occupation is {v}.", "at work I am a {v}.", "I trained as a {v} and work as one.",
        ),
        acknowledged="You are a {v}. I will remember that.",
        asked=(
            "what is my job?", "what do I do?", "what do I work as?", "what is my work?",
            "what is my profession?", "do you know my job?", "do you remember my job?",
            "do you remember what I do?", "what do I do for a living?", "tell me my job.",
            "tell me what I work as.", "what job do I have?", "which job do I have?",
            "how do I earn my money?", "what did I say my job is?", "I told you my job. what is it?",
            "as what do I work?", "what was my job again?",
            "what is my [occupation|trade|line of work]?", "[recall|repeat|state|say] my [job|profession|occupation].",
            "[can|could] you [recall|repeat|tell me] my [job|profession|work]?", "what am I by profession?",
            "[earlier|before] I [told you|mentioned] my job. what [is|was] it?", "how do I make my living?",
            "[do you recall|have you forgotten] [my job|what I work as|what I do]?", "which profession do I have?",
            "what work do I do?", "what did I say I [do|work as]?", "what am I at work?",
        ),
        recalled="You are a {v}.",
        not_told="You have not told me your job.",
    ),
    "dog's name": _pet("dog"),
    "cat's name": _pet("cat"),
    **{slot: _favourite(slot.split()[1]) for slot in REMEMBER if slot.startswith("favourite")},
}  # fmt: skip

# More values than the tables have, so that a value is copied, not chosen.
_SYLLABLES = "ra mi lo ta ne ka su di ve jo ri na bel dan mar tin ol fe zu gre".split()
_MORE: dict[str, tuple[str, ...]] = {
    "favourite colour": ("white", "grey", "brown", "gold", "silver", "violet", "turquoise"),
    "favourite animal": ("wolf", "bear", "rabbit", "whale", "eagle", "frog", "bee", "snake", "goat"),
    "favourite food": ("fish", "curry", "noodles", "sushi", "eggs", "potatoes", "steak", "beans"),
    "favourite fruit": ("mango", "grape", "pear", "melon", "kiwi", "strawberry", "fig"),
    "favourite drink": ("cocoa", "beer", "wine", "cola", "soda", "mint tea"),
    "favourite sport": ("golf", "rugby", "hockey", "boxing", "cycling", "rowing", "volleyball"),
    "city": ("Berlin", "Athens", "Lisbon", "Dublin", "Warsaw", "Moscow", "Beijing", "Seoul", "Boston",
             "Hamburg", "Milan", "Lyon", "Chicago", "Nairobi", "Quito"),
    "job": ("baker", "writer", "lawyer", "pilot", "gardener", "dancer", "builder", "student", "clerk",
            "tailor", "butcher", "programmer"),
}  # fmt: skip


def _value(slot: str, rng: random.Random) -> str:
    if rng.random() < 0.55:
        return rng.choice(REMEMBER[slot])
    if slot == "name" or slot.endswith("'s name"):
        return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()
    if slot == "age":
        return str(rng.randint(5, 95))
    if slot == "favourite number":
        return str(rng.randint(0, 999))
    return rng.choice(_MORE.get(slot, REMEMBER[slot]))


@dataclass(frozen=True)
class Memory:
    """Something told and asked for: the turn that tells it, its reply, the question, the answer."""

    slot: str
    told: str
    acknowledged: str
    question: str
    recalled: str
    accept: tuple[str, ...]


def memory(rng: random.Random, want_unseen: bool = False, slot: str | None = None) -> Memory:
    """A random thing to remember; `want_unseen`: a combination kept out of training."""
    while True:
        chosen = slot or rng.choice(("name", "name", *_SLOTS))
        forms, value = _SLOTS[chosen], _value(chosen, rng)
        said, asked = rng.choice(forms.said), rng.choice(forms.asked)
        # The pair of how it was said and how it is asked for is the combination.
        if unseen(TOPIC, chosen, said, asked) != want_unseen:
            continue
        return Memory(
            chosen,
            typed(expand(said.format(v=value), rng), rng),
            forms.acknowledged.format(v=value),
            typed(expand(asked, rng), rng),
            forms.recalled.format(v=value),
            (value,),
        )


def never_told(rng: random.Random, told: set[str]) -> tuple[str, str, tuple[str, ...]]:
    """A question for something that this conversation never said: (question, reply, accept)."""
    slot = rng.choice([name for name in _SLOTS if name not in told])
    forms = _SLOTS[slot]
    question = typed(expand(rng.choice(forms.asked), rng), rng)
    return question, forms.not_told, NOT_TOLD_ACCEPT
