"""Simple science: states, materials, senses, organs, plants, floating, magnets, numbers.

Over 400 lines: it is a table of many small facts.
"""

from refine.mini.facts.things import (
    FLOATS,
    MADE_OF,
    MAGNETIC,
    ORGANS,
    PLANT_PARTS,
    SCIENCE_LINES,
    SCIENCE_NUMBERS,
    SENSES,
    STATES,
)
from refine.mini.relations import Relation, make_fact

TOPIC = "science"


def _verb(organ: str) -> tuple[str, str, str]:
    """ "is", "does" and the plain form of what an organ does: "pumps blood" -> "pump blood"."""
    if organ in {"lungs", "muscles", "bones", "teeth", "legs", "roots", "leaves"}:
        return "are", "do", ORGANS.get(organ, PLANT_PARTS.get(organ, ""))
    said = ORGANS.get(organ, PLANT_PARTS.get(organ, ""))
    first, _, rest = said.partition(" ")
    plain = {"thinks": "think", "digests": "digest", "pumps": "pump", "carries": "carry"}
    return "is", "does", f"{plain.get(first, first.removesuffix('s'))} {rest}".strip()


_STATE = Relation(
    name="state",
    topic=TOPIC,
    facts=tuple(make_fact(TOPIC, f"{x}:state", {"x": x, "v": v}, v) for x, v in STATES.items()),
    answer_slot="v",
    weight=1.6,
    nouns=("the state of {x}", "the [normal |usual |]state of matter of {x}"),
    clauses=(
        "whether {x} is a solid, a liquid or a gas",
        "what state {x} is in",
        "which state of matter {x} is",
    ),
    directs=(
        "is {x} a solid, a liquid or a gas?",
        "is {x} solid, liquid or gas?",
        "{x}: solid, liquid or gas?",
        "in [which|what] state is {x}?",
        "what state of matter is {x}?",
        "which state of matter does {x} belong to?",
        "{x} is a solid, a liquid or a gas?",
        "would you call {x} a solid, a liquid or a gas?",
        "{x} is a",
        "what is {x}: a gas, a liquid or a solid?",
        "does {x} count as a solid, as a liquid or as a gas?",
    ),
    replies=("{x} is a {v}.",),
    statements=("{x} is a {v}.", "{x} counts as a {v}.", "one example of a {v} is {x}."),
    wrong=("solid", "liquid", "gas"),
)

_MADE = Relation(
    name="made_of",
    topic=TOPIC,
    facts=tuple(make_fact(TOPIC, f"{x}:made", {"x": x, "v": v}, v) for x, v in MADE_OF.items()),
    answer_slot="v",
    weight=1.6,
    nouns=(
        "the material [of|for|in] {x}",
        "the material {x} is made of",
        "the thing {x} is made from",
        "the stuff {x} is made of",
    ),
    clauses=(
        "what {x} is made [of|from|out of]",
        "[what|which] material {x} is made of",
        "what you need to make {x}",
        "what {x} comes from",
    ),
    directs=(
        "what is {x} made [of|from|out of]?",
        "{x} is made [of|from] what?",
        "{x} is made [of|from]",
        "of what is {x} made?",
        "from what is {x} made?",
        "[what|which] material is {x} made of?",
        "[what|which] material is used [for|to make] {x}?",
        "what do [people|we|you] make {x} [of|from|out of]?",
        "what do you need to make {x}?",
        "what do [people|we|you] use to make {x}?",
        "what does {x} consist of?",
        "where does {x} come from?",
        "what is the material of {x}?",
        "what is in {x}?",
        "{x}: made of what?",
    ),
    replies=("{x} is made of {v}.",),
    statements=(
        "{x} is made of {v}.",
        "{x} is made from {v}.",
        "you need {v} to make {x}.",
        "{x} comes from {v}.",
    ),
    wrong=tuple(sorted({*MADE_OF.values(), "stone", "gold", "sand", "cotton"})),
)

_SENSE = Relation(
    name="sense",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{verb}:organ", {"x": verb, "v": organ}, organ)
        for verb, organ in SENSES.items()
    ),
    answer_slot="v",
    weight=1.0,
    nouns=("the part of the body we {x} with", "the sense organ [to|we use to] {x}"),
    clauses=("what we {x} with", "which part of the body we use to {x}", "with what people {x}"),
    directs=(
        "what do [we|you|people] {x} with?",
        "with what do [we|you|people] {x}?",
        "[which|what] part of the body do [we|you|people] use to {x}?",
        "[which|what] [sense organ|organ|body part] do [we|you|people] need to {x}?",
        "what do [we|you|people] use to {x}?",
        "what lets [us|you|people] {x}?",
        "we {x} with",
        "we {x} with our what?",
        "how do [we|people] {x} things?",
        "if I want to {x} something, what do I use?",
    ),
    replies=("we {x} with the {v}.",),
    statements=("we {x} with the {v}.", "people use the {v} to {x}."),
    wrong=tuple(SENSES.values()),
)


def _does(part: str, value: str) -> dict[str, str]:
    are, do, plain = _verb(part)
    return {"x": part, "v": value, "are": are, "do": do, "plain": plain}


_ORGAN = Relation(
    name="organ",
    topic=TOPIC,
    facts=tuple(make_fact(TOPIC, f"{x}:does", _does(x, v), v) for x, v in ORGANS.items()),
    answer_slot="v",
    weight=1.2,
    nouns=("the [job|work|task|function] of the {x}", "the use of the {x}"),
    clauses=(
        "what the {x} {do}",
        "what the {x} {are} for",
        "what the [job|work|task|function] of the {x} is",
        "what we need the {x} for",
    ),
    directs=(
        "what {do} the {x} do?",
        "what {are} the {x} for?",
        "what {are} the {x} good for?",
        "what is the [job|task|function|work|use] of the {x}?",
        "why do [we|people] have {x}?",
        "why do [we|people] need the {x}?",
        "what do [we|people] need the {x} for?",
        "in the body, what {do} the {x} do?",
        "the {x}: what {do} it do?",
        "how {do} the {x} help the body?",
    ),
    replies=("the {x} {v}.",),
    statements=("the {x} {v}.", "in the body, the {x} {v}."),
    wrong=tuple(ORGANS.values()),
)

_ORGAN_BY = Relation(
    name="organ_by",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{x}:by", _does(x, v), x) for x, v in {**ORGANS, **PLANT_PARTS}.items()
    ),
    answer_slot="x",
    weight=1.0,
    nouns=("the part that {v}",),
    clauses=("what {v}", "which part {v}"),
    directs=(
        "what {v}?",
        "which part {v}?",
        "[which|what] part of the [body|plant] {v}?",
        "what is the part that {v} called?",
        "name the part that {v}.",
    ),
    replies=("the {x} {v}.",),
    statements=("the {x} {v}.",),
    wrong=(*ORGANS, *PLANT_PARTS),
)

_PLANT = Relation(
    name="plant",
    topic=TOPIC,
    facts=tuple(make_fact(TOPIC, f"{x}:plant", _does(x, v), v) for x, v in PLANT_PARTS.items()),
    answer_slot="v",
    weight=0.9,
    nouns=("the [job|work|task|function] of the {x} of a plant",),
    clauses=("what the {x} of a plant {do}", "what a plant needs its {x} for"),
    directs=(
        "what {do} the {x} of a plant do?",
        "what {are} the {x} of a plant for?",
        "what is the [job|task|function|work] of the {x} [of|in] a plant?",
        "why does a plant [have|need] {x}?",
        "what does a plant [need|use] its {x} for?",
        "in a plant, what {do} the {x} do?",
        "plant {x}: what for?",
        "how {do} the {x} help a plant?",
    ),
    replies=("the {x} {v}.",),
    statements=("the {x} {v}.", "in a plant, the {x} {v}.", "the {x} of a plant {v}."),
    wrong=tuple(PLANT_PARTS.values()),
)

_FLOAT = Relation(
    name="floats",
    topic=TOPIC,
    facts=tuple(
        make_fact(
            TOPIC,
            f"{x}:floats",
            {"x": x, "v": "floats" if v else "sinks"},
            "floats" if v else "sinks",
            "float" if v else "sink",
        )
        for x, v in FLOATS.items()
    ),
    answer_slot="v",
    weight=1.0,
    clauses=(
        "whether {x} [floats or sinks|sinks or floats]",
        "if {x} floats or sinks",
        "what happens to {x} in water",
        "what {x} does in water",
    ),
    directs=(
        "does {x} float or sink?",
        "does {x} sink or float?",
        "does {x} float?",
        "does {x} sink?",
        "will {x} float [on|in] water?",
        "will {x} sink in water?",
        "does {x} float [on|in] water?",
        "what happens to {x} in water?",
        "what happens [if|when] you [put|drop|throw] {x} into [the |]water?",
        "{x} in water: float or sink?",
        "{x}: float or sink?",
        "I drop {x} into a lake. what happens?",
    ),
    replies=("{x} {v} in water.",),
    statements=("{x} {v} in water.", "if you put {x} into water, it {v}."),
    wrong=("floats", "sinks"),
)

_MAGNET = Relation(
    name="magnet",
    topic=TOPIC,
    facts=tuple(
        make_fact(
            TOPIC,
            f"{x}:magnet",
            {"x": x, "yn": "yes" if v else "no", "v": "is" if v else "is not"},
            f"{'is' if v else 'is not'} pulled",
            "yes" if v else "no",
        )
        for x, v in MAGNETIC.items()
    ),
    answer_slot="v",
    weight=0.9,
    clauses=(
        "whether {x} is magnetic",
        "if a magnet [pulls|attracts] {x}",
        "whether a magnet [attracts|pulls] {x}",
    ),
    directs=(
        "is {x} magnetic?",
        "does a magnet [attract|pull] {x}?",
        "is {x} [attracted|pulled] by a magnet?",
        "will a magnet [attract|pull|pick up] {x}?",
        "can a magnet [attract|pull|pick up|lift] {x}?",
        "does {x} stick to a magnet?",
        "what does a magnet do with {x}?",
        "I hold a magnet near {x}. does it stick?",
        "{x}: magnetic or not?",
    ),
    replies=("{yn}, {x} {v} pulled by a magnet.",),
    statements=("{x} {v} pulled by a magnet.",),
    wrong=("is", "is not"),
)

_HOW_MANY = {
    "boiling point of water in degrees": (
        ("at [what|which] temperature does water boil?", "when does water boil?",
         "at how many degrees does water boil?", "how hot must water be to boil?",
         "how hot is boiling water?", "water boils at [what temperature|how many degrees]?"),
        "water boils at {v} degrees.",
    ),
    "freezing point of water in degrees": (
        ("at [what|which] temperature does water freeze?", "when does water freeze?",
         "at how many degrees does water freeze?", "how cold must it be for water to freeze?",
         "at how many degrees does water become ice?", "water freezes at how many degrees?"),
        "water freezes at {v} degrees.",
    ),
    "senses of a person": (
        ("how many senses [does a person|do people|do we] have?", "how many senses are there?",
         "number of senses?", "count the senses of a person."),
        "a person has {v} senses.",
    ),
    "seasons in a year": (
        ("how many seasons are [there |]in a year?", "how many seasons does a year have?",
         "how many seasons are there?", "number of seasons?"),
        "a year has {v} seasons.",
    ),
    "fingers on one hand": (
        ("how many fingers are on [one|a] hand?", "how many fingers does a hand have?",
         "how many fingers are there on one hand?", "number of fingers on one hand?"),
        "a hand has {v} fingers.",
    ),
    "wheels of a bicycle": (
        ("how many wheels does a bicycle have?", "how many wheels are on a bicycle?",
         "bicycle: how many wheels?", "number of wheels of a bicycle?"),
        "a bicycle has {v} wheels.",
    ),
    "wheels of a car": (
        ("how many wheels does a car have?", "how many wheels are on a car?",
         "car: how many wheels?", "number of wheels of a car?"),
        "a car has {v} wheels.",
    ),
    "colours of the rainbow": (
        ("how many colours does the rainbow have?", "how many colours are [there |]in [a|the] rainbow?",
         "rainbow: how many colours?", "number of colours in the rainbow?"),
        "the rainbow has {v} colours.",
    ),
    "strings of a violin": (
        ("how many strings does a violin have?", "how many strings are on a violin?",
         "violin: how many strings?", "number of strings of a violin?"),
        "a violin has {v} strings.",
    ),
    "letters of the alphabet": (
        ("how many letters does the alphabet have?", "how many letters are [there |]in the alphabet?",
         "alphabet: how many letters?", "number of letters in the alphabet?"),
        "the alphabet has {v} letters.",
    ),
}  # fmt: skip
for _sides in ("triangle", "square", "pentagon", "hexagon"):
    _HOW_MANY[f"sides of a {_sides}"] = (
        (f"how many sides does a {_sides} have?", f"how many sides has a {_sides}?",
         f"how many sides are there in a {_sides}?", f"{_sides}: how many sides?",
         f"number of sides of a {_sides}?", f"count the sides of a {_sides}.",
         f"how many corners does a {_sides} have?"),
        f"a {_sides} has {{v}} sides.",
    )  # fmt: skip

_NUMBERS = tuple(
    Relation(
        name=f"number {key}",
        topic=TOPIC,
        facts=(make_fact(TOPIC, f"number:{key}", {"v": str(n)}, str(n)),),
        answer_slot="v",
        weight=0.22,
        nouns=(f"the {key}" if key.startswith(("boil", "freez")) else f"the number of {key}",),
        directs=_HOW_MANY[key][0],
        replies=(_HOW_MANY[key][1],),
        wrong=("0", "2", "3", "4", "5", "6", "7", "8", "10", "26", "50", "100"),
    )
    for key, n in SCIENCE_NUMBERS.items()
)

# key -> (questions, reply)
_LINES: dict[str, tuple[tuple[str, ...], str]] = {
    "breathe": (("[what|which] gas do [people|we|you] need to breathe?",
                 "what do [people|we] breathe in to live?", "which gas do we breathe?"),
                "people need oxygen to breathe."),
    "plants_gas": (("[what|which] gas do plants take in?", "what gas do plants need from the air?",
                    "plants take in which gas?"), "plants take in carbon dioxide."),
    "light": (("where does the earth get its light from?", "where does daylight come from?",
               "what gives the earth light [and warmth|]?", "what lights up the day?"),
              "the earth gets its light from the sun."),
    "freeze": (("what does water become when it freezes?", "what is frozen water called?",
                "what do you get when water freezes?", "water that freezes becomes what?"),
               "frozen water is ice."),
    "boil": (("what does water become when it boils?", "what comes out of boiling water?",
              "what do you get when water boils?", "boiling water turns into what?"),
             "boiling water becomes steam."),
    "gravity": (("[what|which] force pulls things down?", "why do things fall down?",
                 "what pulls an apple to the ground?", "what keeps us on the ground?",
                 "what makes things fall?"), "gravity pulls things down."),
    "shadow": (("what appears when light is blocked?", "what do you see when something blocks the light?",
                "what does a thing make when it stands in the light?"),
               "a shadow appears when light is blocked."),
    "echo": (("what is a sound that comes back called?", "what do you call a sound that comes back?",
              "I shout and the sound comes back. what is that?"),
             "a sound that comes back is an echo."),
    "hardest": (("what is the hardest natural material?", "which natural material is the hardest?",
                 "what is harder than every other natural material?"),
                "the hardest natural material is diamond."),
    "bees": (("what do bees make?", "what sweet food do bees make?", "what do bees produce?",
              "what comes from a hive?"), "bees make honey."),
    "hens": (("what do hens lay?", "what does a hen lay?", "what do we get from hens?"),
             "hens lay eggs."),
    "cows": (("[what|which] drink do cows give?", "what do cows give us to drink?",
              "what do we get from cows?"), "cows give milk."),
    "sheep": (("what do sheep give [us |]for clothes?", "what do we get from sheep for clothes?",
               "what is cut from sheep?"), "sheep give wool."),
    "melt": (("what happens to ice in the sun?", "what happens when ice gets warm?",
              "what does ice do in the sun?"), "in the sun, ice melts: it melts into water."),
    "tallest": (("what is the tallest animal?", "which animal is the tallest?",
                 "which animal is taller than all others?"), "the tallest animal is the giraffe."),
    "largest": (("what is the largest animal?", "which animal is the [largest|biggest]?",
                 "what is the biggest animal?"), "the largest animal is the blue whale."),
    "fastest": (("what is the fastest land animal?", "which land animal is the fastest?",
                 "which animal runs fastest?"), "the fastest land animal is the cheetah."),
    "night": (("what shines in the sky at night?", "what gives light at night?",
               "what do you see shining in the night sky?"), "at night the moon shines."),
    "sea": (("what makes sea water taste the way it does?", "what is in sea water?",
             "why does sea water taste salty?"), "there is salt in sea water."),
    "thunder": (("what do we hear after lightning?", "what comes after lightning?",
                 "what is the noise after lightning called?"), "after lightning we hear thunder."),
}  # fmt: skip

_ACCEPT_MORE = {"night": ("moon",), "echo": ("echo",), "shadow": ("shadow",), "light": ("sun",),
                "melt": ("melts",), "tallest": ("giraffe",), "largest": ("blue whale",),
                "fastest": ("cheetah",)}  # fmt: skip

_ONE_OFF = tuple(
    Relation(
        name=f"line {key}",
        topic=TOPIC,
        facts=(make_fact(TOPIC, key, {"v": answer}, answer, *_ACCEPT_MORE.get(key, ())),),
        answer_slot="v",
        weight=0.2,
        nouns=() if content.startswith(("what", "where")) else (content,),
        clauses=(content,) if content.startswith(("what", "where")) else (),
        directs=_LINES[key][0],
        replies=(_LINES[key][1].replace(answer, "{v}", 1),),
        wrong=tuple(answer for _, answer in SCIENCE_LINES.values()),
    )
    for key, (content, answer) in SCIENCE_LINES.items()
)

RELATIONS = (
    _STATE, _MADE, _SENSE, _ORGAN, _ORGAN_BY, _PLANT, _FLOAT, _MAGNET, *_NUMBERS, *_ONE_OFF,
)  # fmt: skip
