"""More phrasings of simple science (see `more`)."""

from refine.mini.topics.more import Cores


def _directs(*directs: str) -> Cores:
    return (), (), directs


def _count(noun: str, holder: str) -> Cores:
    """Other ways to ask how many `noun` (plural) `holder` (with article) has."""
    return (
        (f"the [count|total|number] of {noun} [of|on|in] {holder}",),
        (f"how many {noun} {holder} has", f"how many {noun} there are on {holder}"),
        (
            f"how many {noun} [belong to|can you count on|would you find on|are there on] {holder}?",
            f"{holder} has how many {noun}?",
            f"{holder} has [what|which] number of {noun}?",
            f"what is the [count|number|total] of {noun} [on|of|in] {holder}?",
            f"if I count the {noun} of {holder}, [what do I get|how many are there]?",
            f"[tell me|say|state] how many {noun} {holder} has.",
            f"{holder.split()[-1]}: how many {noun}?",
        ),
    )


MORE: dict[str, Cores] = {
    "sense": (
        ("the [organ|body part|part] [that lets us|for us to|with which we] {x}",),
        ("what [organ|body part] helps us {x}", "which organ [you|one] [needs|need] to {x}"),
        (
            "[which|what] [organ|body part|part of you] [helps|allows|lets] [you|us|people|one] [to |]{x}?",
            "[which|what] [organ|body part] [is|do you call] the one to {x} with?",
            "without what could [you|we|people] not {x}?",
            "to {x}, [we|people] [use|need] [our|their] what?",
            "to {x} something I need my",
            "what would I lose if I could not {x} any more?",
            "people {x} with their",
        ),
    ),
    "organ": (
        ("the [purpose|role|duty] of the {x}", "the {x}'s [job|work|role]"),
        ("what the [purpose|role] of the {x} is", "what {x} do[|es] in the body"),
        (
            "what [purpose|use|role] {do} the {x} [serve|have]?",
            "what [work|job|role] {do} the {x} [do|have] [in the body|]?",
            "what would [happen|stop] without the {x}?",
            "what {do} [our|your|my|the human|a person's] {x} do?",
            "what {are} [our|your|my] {x} for?",
            "[describe|state|name] what the {x} {do} [in the body|].",
            "[inside|in] [us|the body|a person], what {do} the {x} do?",
            "the {x}",
            "why {are} the {x} [important|needed|useful]?",
        ),
    ),
    "organ_by": (
        ("the [organ|thing|part of the body or plant] that {v}",),
        ("which [organ|thing|part] {v}", "the name of the part that {v}"),
        (
            "[which|what] [organ|thing|body part] {v}?",
            "[who or what|what is it that] {v}?",
            "it {v}. what is it?",
            "[identify|recall|pick] the part that {v}.",
            "[which|what] part is it that {v}?",
        ),
    ),
    "plant": (
        ("the [purpose|role] of a plant's {x}",),
        ("what the [purpose|role] of a plant's {x} is", "how a plant uses its {x}"),
        (
            "what [purpose|use|role] {do} the {x} [serve|have] [in|for] a plant?",
            "how does a plant use its {x}?",
            "what would a plant not [get|do] without its {x}?",
            "what {do} the {x} do for [a plant|a flower|a tree|the plant]?",
            "what job {do} a plant's {x} have?",
            "a plant's {x}: [what for|what do they do]?",
        ),
    ),
    "magnet": (
        (),
        ("whether {x} sticks to a magnet", "how {x} [behaves|acts] near a magnet"),
        (
            "will {x} [stick|cling|jump] to a magnet?",
            "can you [lift|pick up|move|catch] {x} with a magnet?",
            "what happens [when|if] a magnet [comes near|touches|meets] {x}?",
            "would a magnet [hold|attract|pull|catch] {x}?",
            "do magnets [attract|pull|work on] {x}?",
            "{x} and a magnet: [does it stick|what happens]?",
        ),
    ),
    "number boiling point of water in degrees": _directs(
        "[what|which] temperature [makes|turns] water [boil|into steam]?",
        "what is the boiling point of water?",
        "the boiling point of water is",
        "water starts to boil at [what temperature|how many degrees|which temperature]?",
        "[how many degrees|what temperature|how much heat] [does|must] water [need|have|reach] to boil?",
        "I heat water. at [how many degrees|what temperature] does it boil?",
        "boiling water has [which|what] temperature?",
    ),
    "number freezing point of water in degrees": _directs(
        "[what|which] temperature [makes|turns] water [freeze|into ice]?",
        "what is the freezing point of water?",
        "the freezing point of water is",
        "water [starts to freeze|turns to ice|becomes ice] at [what temperature|how many degrees|which temperature]?",
        "I cool water down. at [how many degrees|what temperature] does it freeze?",
        "[below|at] which temperature does water turn into ice?",
        "when does water turn to ice, in degrees?",
    ),
    "number senses of a person": _count("senses", "a person"),
    "number seasons in a year": _count("seasons", "a year"),
    "number fingers on one hand": _count("fingers", "a hand"),
    "number sides of a triangle": _count("sides", "a triangle"),
    "number sides of a square": _count("sides", "a square"),
    "number sides of a pentagon": _count("sides", "a pentagon"),
    "number sides of a hexagon": _count("sides", "a hexagon"),
    "number wheels of a bicycle": _count("wheels", "a bicycle"),
    "number wheels of a car": _count("wheels", "a car"),
    "number colours of the rainbow": _count("colours", "the rainbow"),
    "number strings of a violin": _count("strings", "a violin"),
    "number letters of the alphabet": _count("letters", "the alphabet"),
    "line breathe": _directs(
        "[which|what] [gas|part of the air] [keeps us alive|do our lungs need|must people breathe|do living people need]?",
        "without [which|what] gas [can people not|could we not] [live|breathe]?",
        "to breathe, people need which gas?",
        "what is in the air that we need [to live|to breathe]?",
    ),
    "line plants_gas": _directs(
        "[which|what] gas do plants [use|breathe in|absorb|need|live on|take from the air]?",
        "the gas taken in by plants is",
        "which gas [is taken in by|goes into] plants?",
    ),
    "line light": _directs(
        "[what|who] gives us [light|daylight|sunlight] [by day|in the day|]?",
        "what is the source of the earth's light?",
        "what [lights up|warms|shines on] the earth?",
        "from where does [the earth get light|light come to the earth]?",
        "why is it light in the day?",
    ),
    "line freeze": _directs(
        "what [is made|appears|forms] when water [freezes|gets very cold]?",
        "[very cold|frozen|freezing] water [becomes|turns into|is called] what?",
        "what does water turn into [when it is very cold|in the freezer|in winter]?",
        "I put water in the freezer. what do I get?",
        "what do you call frozen water?",
    ),
    "line boil": _directs(
        "what does [boiling |hot ]water [turn into|change into|give off]?",
        "what [rises|comes|goes up] from boiling water?",
        "when water boils, it becomes",
        "what is boiling water in the air called?",
        "water as a gas is called what?",
    ),
    "line gravity": _directs(
        "[which|what] force [makes|lets] [things|apples|stones] fall[ down|]?",
        "[what|which force] [keeps|holds] [people|us|things] on the [earth|ground]?",
        "what makes [an apple|a ball|a stone] [fall|come down]?",
        "why does [an apple|a ball|a stone] fall [down|to the ground]?",
        "the force that makes things fall is called",
        "I drop a ball. which force pulls it down?",
    ),
    "line shadow": _directs(
        "what [forms|is made|do we see] when [light is blocked|something stands in the light|something blocks the sun]?",
        "[a tree|a person|a wall] blocks the light. what do you see on the ground?",
        "what is the dark shape behind [a thing|you] in the light?",
        "what follows you in the sun?",
    ),
    "line echo": _directs(
        "what is [the name for |]a sound that [comes back|returns|bounces back]?",
        "what do you hear when your [voice|sound] comes back [from the mountain|]?",
        "when a sound [returns|bounces back], [what is it called|we call it]?",
        "the sound that comes back is called",
    ),
    "line hardest": _directs(
        "[which|what] [material|stone|thing] [in nature |]is the hardest?",
        "what is the hardest [stone|thing|material] [in nature|of all]?",
        "no natural material is harder than which?",
        "the hardest material is",
    ),
    "line bees": _directs(
        "what [food|sweet thing] [comes|do we get] from bees?",
        "what do bees [give us|collect nectar for|fill their hive with|store in the hive]?",
        "which animal product comes from bees?",
        "bees make what?",
        "bees make",
    ),
    "line hens": _directs(
        "what [comes|do people get|does the farmer get] from [a hen|hens]?",
        "hens lay what?",
        "hens lay",
        "what do you find [in the nest of a hen|under a hen]?",
    ),
    "line cows": _directs(
        "what [drink |]comes from cows?",
        "cows give [us |]what?",
        "cows give us",
        "which drink do [people|we|farmers] get from [a cow|cows]?",
        "what does a cow give[ us|]?",
    ),
    "line sheep": _directs(
        "what [do people get|comes|is made] from sheep?",
        "sheep give [us |]what?",
        "sheep give us",
        "what for our clothes comes from sheep?",
        "which material do sheep give?",
    ),
    "line melt": _directs(
        "what [does|will] ice do [when it is warm|in the heat|when heated|in warm air]?",
        "what [happens|will happen] to [ice|an ice cube] [in the heat|when it gets warm|on a hot day|left in the sun]?",
        "I leave ice in the sun. what happens?",
        "in the sun, ice",
    ),
    "line tallest": _directs(
        "[which|what] animal [is|stands|grows] [the tallest|taller than all the others|highest]?",
        "name the tallest animal.",
        "of all animals, which is the tallest?",
        "the tallest animal is",
    ),
    "line largest": _directs(
        "[which|what] animal [is|grows] [the largest|the biggest|bigger than all the others]?",
        "name the [largest|biggest] animal.",
        "of all animals, which is the [largest|biggest]?",
        "the [largest|biggest] animal is",
    ),
    "line fastest": _directs(
        "[which|what] [land |]animal [is|runs] [the fastest|faster than all the others]?",
        "name the fastest land animal.",
        "of all animals on land, which is the fastest?",
        "the fastest land animal is",
    ),
    "line night": _directs(
        "what [shines|gives light|can we see shining|lights the sky] [at|in the] night?",
        "[which|what] light do we see in the sky at night?",
        "what lights up the night?",
    ),
    "line sea": _directs(
        "what [is|do you find] in [the water of the sea|sea water]?",
        "why [is|does] [the sea|sea water|the ocean] [salty|taste salty|taste of salt]?",
        "what makes [the sea|sea water|the ocean] [salty|taste like that|taste bad]?",
        "[which|what] [thing|stuff] gives sea water its taste?",
    ),
    "line thunder": _directs(
        "what [follows|comes after|do we hear after] [a flash of |]lightning?",
        "after lightning [we hear|you hear|comes|there is]",
        "I see lightning. what will I hear?",
        "[which|what] [sound|noise] [comes with|follows] lightning?",
    ),
}
