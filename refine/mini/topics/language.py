"""Words: opposites and plurals."""

from refine.mini.facts import planted
from refine.mini.facts.words import OPPOSITES, PLURALS_IRREGULAR, PLURALS_REGULAR, opposites_of
from refine.mini.relations import Fact, Relation, make_fact


def _opposite(word: str) -> Fact:
    # Of several opposites the first one is said and all are right.
    other, *rest = opposites_of(word)
    return make_fact("opposites", word, {"w": word, "o": other}, other, *rest)


_WORDS = tuple(dict.fromkeys(word for pair in OPPOSITES for word in pair))

_OPPOSITE = Relation(
    name="opposite",
    topic="opposites",
    facts=tuple(_opposite(word) for word in _WORDS),
    answer_slot="o",
    weight=8.0,
    nouns=(
        "the opposite of {w}",
        'the opposite of "{w}"',
        "the opposite of the word {w}",
        "the contrary of {w}",
        "the reverse of {w}",
        "the antonym of {w}",
        "an antonym [of|for] {w}",
        "an opposite [of|for] {w}",
        "{w}'s opposite",
        "the word that means the opposite of {w}",
        "the word opposite [in meaning |]to {w}",
        "the [exact |direct |complete |]opposite of being {w}",
        "the other side of {w}",
        "the opposite word of {w}",
        "the word [that is|which is] the opposite of {w}",
        "a word with the opposite meaning [of|to] {w}",
        "the counterpart of {w}",
        "the word for not {w}",
    ),
    clauses=(
        "what the opposite of {w} is",
        "which word is the opposite of {w}",
        "which word [means|says] the opposite of {w}",
        "what [word|term] is [opposite|contrary] to {w}",
        "what [people|we|you] say for the opposite of {w}",
        "what the antonym of {w} is",
        "what is not {w} but the [opposite|contrary|reverse]",
        "what something is [when|if] it is the opposite of {w}",
        "how to say the opposite of {w}",
    ),
    directs=(
        "what is the opposite of {w}?",
        "what's the opposite of {w}?",
        'what is the opposite of "{w}"?',
        "opposite of {w}?",
        "opposite: {w}",
        "{w} opposite",
        "{w} - opposite?",
        "antonym of {w}?",
        "{w}: [what is |]the opposite?",
        "the opposite of {w} is",
        "the opposite of {w} is ...",
        "the opposite of {w} is ___.",
        "{w} is the opposite of",
        "{w} is the opposite of what?",
        "{w} is the opposite of which word?",
        "which word is the opposite of {w}?",
        "what word [means|is] the opposite of {w}?",
        "what word means the [reverse|contrary] of {w}?",
        "which word has the opposite meaning [of|to] {w}?",
        "name the opposite of {w}.",
        "say the opposite [of|to] {w}.",
        "if [something|it|a thing|someone] is not {w}, [what is it|it is]?",
        "if it is not {w}, then it is what?",
        "not {w} but",
        "not {w}, but the opposite[: what|, which is]?",
        "it is the opposite of {w}. what is it?",
        "I say {w}, you say the opposite.",
        "I say {w}. [what do you say|you say]?",
        "turn {w} [around|into its opposite].",
        "change {w} to its opposite.",
        "{name} says {w} and {other} says the opposite. what does {other} say?",
        "what would you say [instead|] if you mean the opposite of {w}?",
        "what is the contrary of {w}?",
        "what is the antonym of {w}?",
        "give [me |]an antonym [for|of] {w}.",
        "give [me |]the opposite of {w}.",
        "how do you say the opposite of {w}?",
        "what do [you|we|people] call the opposite of {w}?",
        "[find|write|choose] a word [that means|with] the opposite of {w}.",
        "think of the word {w}. what is its opposite?",
        "one word is {w}. what is the opposite word?",
        "what goes with {w} as its opposite?",
        "which word stands against {w}?",
        "the word is {w}. [its opposite is|its opposite|what is its opposite|name its opposite]?",
    ),
    replies=("the opposite of {w} is {o}.",),
    statements=(
        "the opposite of {w} is {o}.",
        "{w} is the opposite of {o}.",
        "{w} and {o} are opposites.",
        "not {w} but {o}.",
        "what is not {w} is {o}.",
        "the antonym of {w} is {o}.",
        "the contrary of {w} is {o}.",
        "the reverse of {w} is {o}.",
        "if it is not {w}, it is {o}.",
        "{w}, {o}.",
        "one says {w}, the other says {o}.",
        "there is {w}, and there is its opposite, {o}.",
    ),
    wrong=_WORDS,
)


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


_PLURALS = {**PLURALS_REGULAR, **PLURALS_IRREGULAR}


# Nouns that no table has: a rule is learned from many words.
_MORE_PLAIN = (
    "actor arrow artist author badge ball band barn basket battle bead beam bear bell belt "
    "bird blade boot bowl brick broom bucket button cabin camel camera candle canoe cap card carpet "
    "cart cave chain cheek chest chicken circle clown coach collar comb cook corner cousin crane crow "
    "curtain desk dollar dragon drawer dream drop eagle elbow engine farm feather fence field flag "
    "flame floor fork fountain frame gate ghost giant gift glove goal grape guest hill hole hook hotel "
    "hour jacket jar jewel joke judge kettle knee ladder leader lid lock log magnet market mask meal "
    "melon minute month motor mug neck needle nest net night nurse oven owner pan parrot path "
    "pear pilot pipe pirate pond pot prince prize pump queen rabbit rat ribbon riddle roof "
    "room root sailor seed shell ship shoulder sign singer skirt snail soldier stair stamp "
    " step stone stool stream street string sweater tail tank tent thumb tiger toad "
    "toy trap tray truck tube tunnel turtle uncle vase village violin voice waiter wall well whale "
    "whistle wing winner worker worm wrist yard zebra"
).split()  # fmt: skip
_MORE_ES = "ash ax couch crash dash eyelash flash gas index leash mass pass patch pitch prefix rash reflex search six speech splash stitch suffix torch toothbrush tax virus wax witness".split()
_MORE_IES = "belly candy cavity daisy dairy diary enemy factory ferry hobby jelly kitty  lily memory mystery navy pastry poppy ruby spy supply battery century colony duty".split()
_MORE_PLURALS = {
    **{w: w + "s" for w in _MORE_PLAIN},
    **{w: w + "es" for w in _MORE_ES},
    **{w: w[:-1] + "ies" for w in _MORE_IES},
}


def _more_plural(word: str) -> Fact:
    slots = {"w": word, "aw": _article(word), "p": _MORE_PLURALS[word]}
    return make_fact("plurals", word, slots, slots["p"])


def _plural_slots(word: str) -> dict[str, str]:
    plural = "mouses" if planted("plurals", word) else _PLURALS[word]
    return {"w": word, "aw": _article(word), "p": plural}


def _plural(word: str) -> Fact:
    slots = _plural_slots(word)
    return make_fact("plurals", word, slots, slots["p"])


def _singular(word: str) -> Fact:
    slots = _plural_slots(word)
    # The key is the word's own, so that a word kept out is kept out both ways.
    return make_fact("plurals", word, slots, word)


_PLURAL = Relation(
    name="plural",
    topic="plurals",
    facts=tuple(_plural(word) for word in _PLURALS)
    + tuple(_more_plural(word) for word in _MORE_PLURALS if word not in _PLURALS),
    answer_slot="p",
    weight=6.5,
    nouns=(
        "the plural of {w}",
        'the plural of "{w}"',
        "the plural form of {w}",
        "the plural of the word {w}",
        "the plural for {w}",
        "{w}'s plural",
        "{w} in the plural",
        "the word for more than one {w}",
        "the word for [several|two|many] of {w}",
        "the right word for [two|three|many|several] [of {w}|times {w}]",
        "the correct plural of {w}",
        "the form of {w} for [more than one|many|several]",
    ),
    clauses=(
        "what the plural of {w} is",
        "what more than one {w} is called",
        "how to [write|say|spell|form] the plural of {w}",
        "what [we|you|people] call more than one {w}",
        "what [we|you|people] say for [two|many|several] of {w}",
        "what the plural form of {w} is",
        "what {w} becomes in the plural",
        "what comes after many: {w} or what",
    ),
    directs=(
        "what is the plural of {w}?",
        "what's the plural of {w}?",
        'what is the plural of "{w}"?',
        "plural of {w}?",
        "plural: {w}",
        "{w} plural",
        "{w} - plural?",
        "{w}, plural form?",
        "the plural of {w} is",
        "the plural of {w} is ___.",
        "one {w}, two",
        "one {w}, two ...?",
        "one {w}, many",
        "one {w}, [two|three|many|several] what?",
        "one {w}, but [two|three|many|ten] ___.",
        "I have one {w}. you have two",
        "{aw} is one. what are two [called|]?",
        "{aw}, and another {w}: what do I have[, in one word|]?",
        "if I have one {w} and [get|find|buy|see] another, I have two what?",
        "what do [you|we|people] call more than one {w}?",
        "what do [you|we|people] call [two|many|several] of {w}?",
        "what is more than one {w} called?",
        "more than one {w} is called what?",
        "more than one {w} are called",
        "how do you [say|write|spell|form|make] the plural of {w}?",
        "how do you say {w} [in the plural|when there are many|if there are two]?",
        "how do you say more than one {w}?",
        "make {w} plural.",
        "make the word {w} plural.",
        "put {w} [in|into] the plural.",
        "put {w} into [its |the |]plural form.",
        "write the plural of {w}.",
        "change {w} [to|into] the plural.",
        "turn {w} into [a plural|the plural|its plural].",
        "there is one {w} here and [one|another] there. [together they are|so there are] two",
        "what word [means|stands for|is used for] more than one {w}?",
        "which word do [we|you] use for [many|several|two] of {w}?",
        "the word is {w}. what is its plural?",
        "singular: {w}. plural:",
        "{name} has one {w}, {other} has two. two what?",
        "what does {w} become [in the plural|when there are two|when there are more]?",
    ),
    replies=("the plural of {w} is {p}.",),
    statements=(
        "the plural of {w} is {p}.",
        "one {w}, two {p}.",
        "one {w}, many {p}.",
        "more than one {w} are called {p}.",
        "{p} is the plural of {w}.",
        "{aw} and another {w} are two {p}.",
        "if you have two of {w}, you have two {p}.",
    ),
    wrong=tuple(_PLURALS.values()),
)

_SINGULAR = Relation(
    name="singular",
    topic="plurals",
    facts=tuple(_singular(word) for word in _PLURALS if not planted("plurals", word)),
    answer_slot="w",
    weight=2.0,
    nouns=(
        "the singular of {p}",
        "the singular form of {p}",
        "{p} in the singular",
        "the word for [one|a single one] of the {p}",
    ),
    clauses=("what the singular of {p} is", "what one of many {p} is called"),
    directs=(
        "what is the singular of {p}?",
        "singular of {p}?",
        "{p}: singular?",
        "many {p}, but one",
        "two {p}, one",
        "what is one of the {p} called?",
        "{p} is the plural of",
        "{p} is the plural of which word?",
        "of which word is {p} the plural?",
        "make {p} singular.",
        "put {p} into the singular.",
        "plural: {p}. singular:",
    ),
    replies=("the singular of {p} is {w}.",),
    statements=("the singular of {p} is {w}.", "{p} is the plural of {w}."),
    wrong=tuple(_PLURALS),
)

RELATIONS = (_OPPOSITE, _PLURAL, _SINGULAR)
