"""Colours of things, mixing, the rainbow."""

from refine.mini.facts.things import COLOURS, MIXES
from refine.mini.relations import Fact, Relation, make_fact

TOPIC = "colours"
_NAMES = ("red", "blue", "green", "yellow", "orange", "purple", "pink", "brown", "grey", "black",
          "white", "gold")  # fmt: skip

_OF = Relation(
    name="colour_of",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, thing, {"x": thing, "v": colour}, colour)
        for thing, colour in COLOURS.items()
    ),
    answer_slot="v",
    weight=2.5,
    nouns=(
        "the colour of {x}",
        "the [usual|normal|typical] colour of {x}",
        "the colour {x} [has|usually has]",
        "the color of {x}",
        "the shade of {x}",
    ),
    clauses=(
        "what colour {x} is",
        "which colour {x} [is|has]",
        "what color {x} is",
        "of what colour {x} is",
        "what {x} looks like in colour",
        "in which colour to [paint|draw|colour] {x}",
    ),
    directs=(
        "what colour is {x}?",
        "which colour is {x}?",
        "what color is {x}?",
        "what colour does {x} have?",
        "which colour has {x}[ got|]?",
        "what is the colour of {x}?",
        "of what colour is {x}?",
        "{x} is what colour?",
        "{x} is which colour?",
        "{x}: colour?",
        "{x} colour?",
        "colour of {x}?",
        "the colour of {x} is",
        "{x} has the colour",
        "{x} is usually what colour?",
        "what colour is {x} [usually|normally|mostly|most of the time]?",
        "which [pencil|paint|colour] do [I|you] [take|need|use] to [draw|paint|colour] {x}?",
        "{name} paints {x}. which colour does {name} [need|take|use]?",
        "I see {x}. what colour do I see?",
        "think of {x}. what colour [is it|do you see]?",
        "when you look at {x}, what colour do you see?",
        "name the colour of {x}.",
        "how would you describe the colour of {x}?",
        "what do you say about the colour of {x}?",
    ),
    replies=("{x} is {v}.",),
    statements=(
        "{x} is {v}.",
        "the colour of {x} is {v}.",
        "{x} has the colour {v}.",
        "to paint {x}, you need {v}.",
        "as {v} as {x}.",
        "{v} is the colour of {x}.",
    ),
    wrong=_NAMES,
)


def _mix(a: str, b: str, result: str) -> Fact:
    return make_fact(TOPIC, f"{a}+{b}", {"a": a, "b": b, "v": result}, result)


_MIX = Relation(
    name="mix",
    topic=TOPIC,
    facts=tuple(_mix(*row) for row in MIXES) + tuple(_mix(b, a, v) for a, b, v in MIXES),
    answer_slot="v",
    weight=1.6,
    nouns=(
        "the [mix|mixture|blend] of {a} and {b}",
        "{a} [mixed with|and|plus|combined with] {b}",
        "the colour you get from {a} and {b}",
        "the [colour|result] of [mixing|combining|blending] {a} [and|with] {b}",
        "{a} and {b} mixed",
    ),
    clauses=(
        "[what|which] colour {a} and {b} make",
        "what you get [when|if] you mix {a} [and|with] {b}",
        "what happens when {a} and {b} paint mix",
        "what colour comes from {a} and {b}",
    ),
    directs=(
        "what do you get [when|if] you mix {a} [and|with] {b}?",
        "what colour do you get [from|by mixing|with] {a} and {b}?",
        "[what|which] colour do {a} and {b} [make|give|become]?",
        "what do {a} and {b} make?",
        "{a} and {b} make [which|what] colour?",
        "{a} and {b} make",
        "{a} plus {b} makes what colour?",
        "{a} + {b} = which colour?",
        "mix {a} [and|with] {b}.",
        "mix {a} and {b}: what colour?",
        "if I mix {a} paint [with|and] {b} paint, what do I get?",
        "{name} mixes {a} and {b} paint. what colour [comes out|is it|does {name} get]?",
        "I have {a} paint and {b} paint. what colour can I mix?",
        "what happens [when|if] {a} and {b} are mixed?",
        "what colour is a mix of {a} and {b}?",
        "combine {a} and {b}.",
        "put {a} and {b} together. which colour is that?",
    ),
    replies=("{a} and {b} make {v}.",),
    statements=(
        "{a} and {b} make {v}.",
        "if you mix {a} and {b}, you get {v}.",
        "{a} mixed with {b} is {v}.",
        "{v} is a mix of {a} and {b}.",
    ),
    wrong=_NAMES,
)

_FROM = Relation(
    name="mixed_from",
    topic=TOPIC,
    facts=tuple(
        make_fact(
            TOPIC,
            f"{v}:from",
            {"v": v, "a": a, "b": b, "ab": f"{a} and {b}"},
            f"{a} and {b}",
            f"{b} and {a}",
        )
        for a, b, v in MIXES
    ),
    answer_slot="ab",
    weight=0.7,
    nouns=("the two colours that make {v}", "the colours [in|mixed for] {v}"),
    clauses=("how to [make|mix|get] {v}", "which two colours make {v}"),
    directs=(
        "how do you [make|mix|get] {v}?",
        "which [two |]colours make {v}?",
        "what colours [must|do] [I|you] mix to get {v}?",
        "{v} is a mix of which colours?",
        "{v} is made [from|of] which two colours?",
        "I need {v} paint. what do I mix?",
    ),
    replies=("you get {v} from {ab}.",),
    statements=("you get {v} from {ab}.", "{v} is made from {ab}."),
    wrong=tuple(f"{a} and {b}" for a, b, _ in MIXES),
)

RELATIONS = (_OF, _MIX, _FROM)
