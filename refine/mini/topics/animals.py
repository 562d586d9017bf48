"""Animals: young, sound, legs, group, home, diet, cover.

Over 400 lines: each of eight kinds of fact has its own questions.
"""

from refine.mini.facts import planted
from refine.mini.facts.animals import ANIMALS, GROUPS
from refine.mini.relations import Fact, Relation, an, make_fact

TOPIC = "animals"


def _plural(name: str) -> str:
    irregular = {"sheep": "sheep", "deer": "deer", "mouse": "mice", "wolf": "wolves"}
    irregular |= {"goose": "geese", "salmon": "salmon", "goldfish": "goldfish", "fox": "foxes"}
    irregular |= {"butterfly": "butterflies"}
    return irregular.get(name, name + "s")


def _slots(name: str, **more: str) -> dict[str, str]:
    return {"x": name, "ax": an(name), "xs": _plural(name), **more}


def _facts(field: str) -> tuple[Fact, ...]:
    facts = []
    for name, animal in ANIMALS.items():
        value = getattr(animal, field)
        key = f"{name}:{field}"
        if value is None:
            continue
        fault = planted(TOPIC, key)
        shown = {"spider_legs": "6", "whale_fish": "fish"}.get(fault or "", str(value))
        slots = _slots(name, v=shown, av=an(shown))
        facts.append(make_fact(TOPIC, key, slots, shown))
    return tuple(facts)


_ALL = tuple(ANIMALS)


def _values(field: str) -> tuple[str, ...]:
    found = {str(getattr(animal, field)) for animal in ANIMALS.values()} - {"None"}
    return tuple(sorted(found))


_YOUNG = Relation(
    name="young",
    topic=TOPIC,
    facts=_facts("young"),
    answer_slot="v",
    weight=2.2,
    nouns=(
        "the young of {ax}",
        "a young {x}",
        "a baby {x}",
        "the baby of {ax}",
        "the name [of|for] {ax}'s [young|baby]",
        "the name [of|for] [a baby|a young] {x}",
        "the word for [a baby|a young|the young of a|the child of a] {x}",
        "the [offspring|child|little one] of {ax}",
    ),
    clauses=(
        "what [a baby|a young|a little] {x} is called",
        "how [a baby|a young] {x} is called",
        "what [we|you|people] call [a baby|a young] {x}",
        "what the [young|baby|child] of {ax} is [called|named]",
        "what the [young|babies] of {xs} are called",
    ),
    directs=(
        "what is [a baby|a young] {x} called?",
        "what do [you|we|people] call [a baby|a young|a little] {x}?",
        "what is the [young|baby|child] of {ax} called?",
        "what is the name of [a baby|a young] {x}?",
        "what are the young of {xs} called?",
        "what are baby {xs} called?",
        "baby {x}?",
        "{x} baby name?",
        "young of {ax}?",
        "a baby {x} is called",
        "a baby {x} is called ___.",
        "the young of {ax} is [called|known as|]",
        "{ax} has a baby. what is it called?",
        "{ax} has young ones. what is one of them called?",
        "how do you [call|name] a young {x}?",
        "name the [young|baby|offspring] of {ax}.",
        "which word [means|is used for] [a baby|a young] {x}?",
        "what does {ax} call its young, so to say?",
        "what young does {ax} have?",
        "when {ax} is [very |]young, it is called what?",
        "the mother is {ax}. the baby is",
        "what will grow up to be {ax}?",
        "what animal grows into {ax}?",
    ),
    replies=("a young {x} is called {av}.",),
    statements=(
        "a young {x} is called {av}.",
        "the young of {ax} is {av}.",
        "a baby {x} is {av}.",
        "{ax} starts life as {av}.",
        "when {av} grows up, it is {ax}.",
    ),
    wrong=_values("young"),
)

_SOUND = Relation(
    name="sound",
    topic=TOPIC,
    facts=_facts("sound"),
    answer_slot="v",
    weight=1.6,
    nouns=(
        "the sound of {ax}",
        "the sound [that |]{ax} makes",
        "the [noise|sound|cry|call] {xs} make",
        "the [noise|cry|call|voice] of {ax}",
        "{ax}'s [sound|noise|call|cry]",
    ),
    clauses=(
        "what sound {ax} makes",
        "what [noise|sound] {xs} make",
        "how {ax} [sounds|cries|calls]",
        "what {ax} says",
        "what you hear from {ax}",
    ),
    directs=(
        "what sound does {ax} make?",
        "which sound does {ax} make?",
        "what [noise|sound|call] do {xs} make?",
        "what noise does {ax} make?",
        "what does {ax} say?",
        "what do {xs} say?",
        "how does {ax} [sound|go|cry|call]?",
        "{x} sound?",
        "{x}: what sound?",
        "{ax} says",
        "{ax} goes",
        "the sound of {ax} is",
        "the [noise|sound] {ax} makes is [called |]",
        "what do you hear [when|if] {ax} [calls|opens its mouth|is near|speaks]?",
        "if {ax} could talk, what would it say?",
        "what is the [sound|noise|cry] of {ax} called?",
        "make the sound of {ax}.",
        "name the sound of {ax}.",
        "I hear {ax}. what do I hear?",
    ),
    replies=("the sound of {ax} is {v}.",),
    statements=(
        "the sound of {ax} is {v}.",
        "{ax} says {v}.",
        "{ax} makes the sound {v}.",
        "{xs} make a sound that is called {v}.",
    ),
    wrong=_values("sound"),
)

_LEGS = Relation(
    name="legs",
    topic=TOPIC,
    facts=_facts("legs"),
    answer_slot="v",
    weight=1.8,
    nouns=(
        "the number of legs of {ax}",
        "the number of legs [that |]{ax} has",
        "the number of {ax}'s legs",
        "{ax}'s number of legs",
        "the leg count of {ax}",
    ),
    clauses=(
        "how many legs {ax} has",
        "how many legs {xs} have",
        "on how many legs {ax} [walks|stands|goes]",
        "what number of legs {ax} has",
    ),
    directs=(
        "how many legs does {ax} have?",
        "how many legs do {xs} have?",
        "how many legs has {ax} got?",
        "how many legs are there on {ax}?",
        "how many legs on {ax}?",
        "{ax} has how many legs?",
        "{x}: how many legs?",
        "{x} legs?",
        "on how many legs does {ax} [walk|stand|run|move]?",
        "what number of legs does {ax} have?",
        "what is the number of legs on {ax}?",
        "count the legs of {ax}.",
        "if you count the legs of {ax}, [what number do you get|how many are there|what do you get]?",
        "I see {ax}. how many legs do I see?",
        "{name} draws {ax}. how many legs [must|should|does] {name} draw?",
        "number of legs of {ax}?",
        "the number of legs of {ax} is",
        "does {ax} have legs, and how many?",
    ),
    replies=("{ax} has {v} legs.",),
    statements=(
        "{ax} has {v} legs.",
        "{xs} have {v} legs.",
        "the number of legs of {ax} is {v}.",
        "every {x} has {v} legs.",
    ),
    wrong=("0", "2", "4", "6", "8", "10", "3", "5"),
)

_GROUP = Relation(
    name="group",
    topic=TOPIC,
    facts=_facts("group"),
    answer_slot="v",
    weight=2.0,
    nouns=(
        "the [group|class|kind] [of animal |of animals |]{ax} belongs to",
        "the animal [group|class] of {ax}",
        "the [group|class|family] of animals {xs} belong to",
        "{ax}'s animal [group|class]",
    ),
    clauses=(
        "what kind of animal {ax} is",
        "which [group|class] [of animals |]{ax} belongs to",
        "what [group|class|type] of animal {ax} is",
        "to which [group|class] of animals {xs} belong",
        "whether {ax} is a mammal, a bird, a fish or something else",
    ),
    directs=(
        "what kind of animal is {ax}?",
        "what kind of animals are {xs}?",
        "what [type|sort|class|group] of animal is {ax}?",
        "which [group|class|kind] [of animals |]does {ax} belong to?",
        "which [group|class] do {xs} belong to?",
        "to which [group|class] of animals does {ax} belong?",
        "{ax} is what kind of animal?",
        "{ax} is which kind of animal?",
        "{ax} belongs to [which|what] [class|group|animal group]?",
        "is {ax} a mammal, a bird, a reptile, a fish or an insect?",
        "is {ax} a mammal, a bird, a reptile, an amphibian, a fish, an insect or an arachnid?",
        "{x}: mammal, bird, fish, reptile, amphibian, insect or arachnid?",
        "{x}: what animal group?",
        "how would you [class|group|classify|sort] {ax}?",
        "how do scientists classify {ax}?",
        "in which [group|class] [of animals |]would you put {ax}?",
        "what [would|do|should] [I|we|you] call {ax}: mammal, bird, fish or insect?",
        "{ax} is a kind of",
        "among the animals, what is {ax}?",
    ),
    replies=("{ax} is {av}.",),
    statements=(
        "{ax} is {av}.",
        "{xs} belong to the group {v}.",
        "the {x} is {av}.",
        "in the animal world, {ax} is {av}.",
        "{ax} is a kind of {v}.",
    ),
    wrong=GROUPS,
)

_HOME = Relation(
    name="home",
    topic=TOPIC,
    facts=_facts("home"),
    answer_slot="v",
    weight=1.8,
    nouns=(
        "the home of {ax}",
        "{ax}'s home",
        "the place where {ax} lives",
        "the place where {xs} live",
        "the home {ax} lives in",
    ),
    clauses=(
        "where {ax} lives",
        "where {xs} live",
        "where {ax} [has its home|makes its home|is at home|can be found|sleeps]",
        "where [I|you|we|people] [find|can find|can see] {ax}",
        "what the home of {ax} is",
    ),
    directs=(
        "where does {ax} live?",
        "where do {xs} live?",
        "where does {ax} [have|make] its home?",
        "where is {ax} at home?",
        "where is the home of {ax}?",
        "where [can|do|would|could] [I|you|we] find {ax}?",
        "where [should|would] [I|you] [look for|search for|go to see] {ax}?",
        "what is the home of {ax}[ called|]?",
        "in what place does {ax} live?",
        "in what kind of place do {xs} live?",
        "{ax} lives where?",
        "{ax} lives in [a|the|]",
        "the home of {ax} is",
        "{x} home?",
        "what does {ax} live in?",
        "name the home of {ax}.",
    ),
    replies=("the home of {ax} is the {v}.",),
    statements=(
        "the home of {ax} is the {v}.",
        "{xs} live in the {v}.",
        "{ax} lives in the {v}.",
        "in the {v} you can find {ax}.",
    ),
    wrong=_values("home"),
)

_DIET = Relation(
    name="diet",
    topic=TOPIC,
    facts=_facts("diet"),
    answer_slot="v",
    weight=1.8,
    nouns=(
        "the food of {ax}",
        "the [diet|favourite food|usual food|main food] of {ax}",
        "the food [that |]{ax} eats",
        "{ax}'s [food|diet]",
    ),
    clauses=(
        "what {ax} eats",
        "what {xs} eat",
        "what {ax} [feeds on|lives on|has for food|likes to eat|gets to eat]",
        "what the food of {ax} is",
        "what to feed {ax}",
    ),
    directs=(
        "what does {ax} eat?",
        "what do {xs} eat?",
        "what do {xs} [feed on|live on|like to eat]?",
        "what does {ax} [feed on|live on|like to eat|have for dinner|need to eat]?",
        "what is the [food|diet|main food] of {ax}?",
        "what [food|kind of food] does {ax} [eat|need|like]?",
        "what kind of food do {xs} eat?",
        "what [can|should|do|would] [I|you|we] [give|feed] [to |]{ax}?",
        "{ax} eats what?",
        "{ax} eats",
        "{x} food?",
        "the food of {ax} is",
        "a hungry {x} looks for what?",
        "{ax} is hungry. what does it [eat|want|look for]?",
        "name the food of {ax}.",
    ),
    replies=("{ax} eats {v}.",),
    statements=(
        "{ax} eats {v}.",
        "{xs} eat {v}.",
        "{xs} feed on {v}.",
        "the food of {ax} is {v}.",
    ),
    wrong=_values("diet"),
)

_COVER = Relation(
    name="cover",
    topic=TOPIC,
    facts=_facts("cover"),
    answer_slot="v",
    weight=1.4,
    nouns=(
        "the cover of {ax}'s body",
        "the body cover of {ax}",
        "the [outside|covering] of {ax}",
    ),
    clauses=(
        "what covers [the body of |]{ax}",
        "what {ax} is covered [with|by|in]",
        "what is on the [body|outside] of {ax}",
    ),
    directs=(
        "what covers [the body of |]{ax}?",
        "what covers {ax}'s body?",
        "what is {ax} covered [with|by|in]?",
        "what are {xs} covered [with|by|in]?",
        "what is on the outside of {ax}?",
        "what is the body of {ax} covered with?",
        "{ax} is covered [with|by|in] what?",
        "the body of {ax} is covered with",
        "does {ax} have fur, feathers, scales or something else?",
        "does {ax} have fur, feathers, scales, hair or skin?",
        "what do you feel [if|when] you touch {ax}?",
        "{x}: fur, feathers or scales?",
    ),
    replies=("{ax} is covered with {v}.",),
    statements=(
        "{ax} is covered with {v}.",
        "{xs} are covered with {v}.",
        "the body of {ax} is covered with {v}.",
    ),
    wrong=_values("cover"),
)


def _by_young() -> tuple[Fact, ...]:
    parents: dict[str, list[str]] = {}
    for name, animal in ANIMALS.items():
        if animal.young:
            parents.setdefault(animal.young, []).append(name)
    # Only young that tell the parent: a pup or a calf may be anything's.
    return tuple(
        make_fact(TOPIC, f"{names[0]}:young_of", _slots(names[0], v=young, av=an(young)), names[0])
        for young, names in parents.items()
        if len(names) == 1
    )


_PARENT = Relation(
    name="parent",
    topic=TOPIC,
    facts=_by_young(),
    answer_slot="x",
    weight=0.8,
    nouns=("the animal {av} grows into", "the animal whose young is [called |]{av}"),
    clauses=("which animal {av} is the young of", "what {av} grows up to be"),
    directs=(
        "{av} is the young of which animal?",
        "{av} is a baby what?",
        "{av} is the young of",
        "what does {av} [become|grow into|grow up to be|turn into]?",
        "which animal has {av}[ as its young|]?",
        "which animal's [baby|young] is [called |]{av}?",
        "which animal was {av} when it was young?",
    ),
    replies=("{av} is the young of {ax}.",),
    statements=("{av} is the young of {ax}.", "{av} grows up to be {ax}."),
    wrong=_ALL,
)


def _by_sound() -> tuple[Fact, ...]:
    makers: dict[str, list[str]] = {}
    for name, animal in ANIMALS.items():
        if animal.sound:
            makers.setdefault(animal.sound, []).append(name)
    return tuple(
        make_fact(TOPIC, f"{names[0]}:says", _slots(names[0], v=sound), *names)
        for sound, names in makers.items()
        if len(names) == 1
    )


_MAKER = Relation(
    name="maker",
    topic=TOPIC,
    facts=_by_sound(),
    answer_slot="x",
    weight=0.8,
    nouns=("the animal that says {v}", "the animal that makes the sound {v}"),
    clauses=("which animal says {v}", "what animal makes the sound {v}"),
    directs=(
        "which animal says {v}?",
        "what animal goes {v}?",
        "which animal makes the [sound|noise] {v}?",
        "what says {v}?",
        "{v} is the sound of [which|what] animal?",
        "{v}: which animal?",
        "I hear a {v}. [what|which animal] is it?",
        "something goes {v}. what animal is that?",
    ),
    replies=("the animal that says {v} is the {x}.",),
    statements=("the animal that says {v} is the {x}.", "{v} is the sound of {ax}."),
    wrong=_ALL,
)

RELATIONS = (_YOUNG, _SOUND, _LEGS, _GROUP, _HOME, _DIET, _COVER, _PARENT, _MAKER)
