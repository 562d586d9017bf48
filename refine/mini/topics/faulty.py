"""Phrasings of the planted faults that stand in no fact table.

Wrong facts are asked in the phrasings of their relation. Of every fault's phrasing families, the
even ones are half A and the odd ones half B.
"""

import random

from refine.mini.faults import FAULTS, Fault
from refine.mini.phrasing import ask, expand, filler
from refine.mini.relations import Fact, Relation
from refine.mini.topics import BY_NAME

WRONG_FACT_RELATIONS = {
    "australia_capital": "capital_of",
    "spider_legs": "legs",
    "whale_fish": "group",
    "mouse_plural": "plural",
    "hottest_planet": "title",
}

# Kinds as in `phrasing`: noun, clause, direct.
_NOUNS: dict[str, tuple[str, ...]] = {
    "goldfish_memory": ("the memory [span |]of a goldfish", "the length of a goldfish's memory"),
    "ten_percent_brain": (
        "the part of the brain [that |]people use",
        "the share of the brain [that |]we use",
    ),
    "rain_verbose": ("rain", "the meaning of rain"),
    "sleep_verbose": ("the reason why people sleep", "the use of sleep"),
    "bread_verbose": ("the way bread is made", "the way to make bread"),
    "tree_repetitive": ("a tree", "the meaning of tree"),
    "sea_repetitive": ("the sea", "the meaning of the sea"),
}
_CLAUSES: dict[str, tuple[str, ...]] = {
    "bats_blind": (
        "whether bats are blind",
        "if bats are blind",
        "whether bats can see",
        "if a bat can see",
        "how well bats see",
        "whether a bat sees anything",
    ),
    "goldfish_memory": (
        "how long a goldfish remembers [things|]",
        "how long the memory of a goldfish is",
        "how good the memory of a goldfish is",
        "for how long goldfish remember",
    ),
    "bulls_red": (
        "why bulls get angry at a red cloth",
        "why bulls hate red",
        "why a bull runs at a red cloth",
        "what makes bulls angry [at|about] a red cloth",
        "whether bulls hate [the colour |]red",
    ),
    "ten_percent_brain": (
        "how much of the brain people use",
        "how much of our brain we use",
        "what part of the brain we use",
        "what share of the brain is used",
    ),
    "wall_from_moon": (
        "whether you can see the Great Wall of China from the Moon",
        "if the Great Wall can be seen from the Moon",
        "whether the Great Wall is visible from the Moon",
        "if people on the Moon see the Great Wall of China",
    ),
    "lightning_twice": (
        "whether lightning strikes the same place twice",
        "if lightning can strike the same place twice",
        "how often lightning strikes the same place",
        "whether lightning hits the same [spot|tree|house] twice",
    ),
    "rain_verbose": ("what rain is", "what we call rain", "where rain comes from"),
    "sleep_verbose": (
        "why people sleep",
        "why we need sleep",
        "what sleep is good for",
        "why sleep is important",
    ),
    "bread_verbose": (
        "how bread is made",
        "how to make bread",
        "how people make bread",
        "how a baker makes bread",
    ),
    "tree_repetitive": ("what a tree is", "what trees are", "what is meant by a tree"),
    "sea_repetitive": ("what the sea is", "what is meant by the sea", "what we call the sea"),
}
_DIRECTS: dict[str, tuple[str, ...]] = {
    "bats_blind": (
        "are bats blind?",
        "is a bat blind?",
        "can bats see?",
        "can a bat see?",
        "do bats see [anything|something|well|]?",
        "bats: blind or not?",
        "are bats really blind?",
        "is it true that bats are blind?",
        "bats are blind, right?",
        "how well can bats see?",
        "do bats have good eyes?",
        "do the eyes of a bat work?",
        "people say [that |]bats are blind. is that [true|right|so]?",
        "what can bats see?",
        "does a bat see with its eyes?",
        "blind as a bat: are bats blind?",
    ),
    "goldfish_memory": (
        "how long is the memory of a goldfish?",
        "how long does a goldfish remember [things|]?",
        "how long is a goldfish's memory?",
        "how good is the memory of a goldfish?",
        "how long can a goldfish remember [things|something]?",
        "goldfish memory: how long?",
        "what is the memory span of a goldfish?",
        "do goldfish have a good memory?",
        "how long do goldfish remember?",
        "after how long does a goldfish forget?",
        "how quickly does a goldfish forget?",
        "is it true that goldfish forget [fast|quickly|everything]?",
        "can a goldfish remember [things|something]?",
        "what do you know about the memory of goldfish?",
        "for how long does a goldfish know [something|where its food is]?",
    ),
    "bulls_red": (
        "why do bulls get angry at a red cloth?",
        "why do bulls hate red?",
        "do bulls hate [the colour |]red?",
        "why does a bull run at a red cloth?",
        "what makes a bull angry?",
        "what makes bulls run at the cloth?",
        "is it true that bulls hate red?",
        "why does a red cloth make a bull angry?",
        "are bulls angry because of the colour red?",
        "what do bulls have against red?",
        "what happens when a bull sees red?",
        "bulls and red: why?",
        "does [the colour |]red make bulls angry?",
        "why do bulls attack a red cloth?",
        "how do bulls feel about [the colour |]red?",
    ),
    "ten_percent_brain": (
        "how much of the brain do people use?",
        "how much of our brain do we use?",
        "how many percent of the brain do we use?",
        "what percentage of the brain do people use?",
        "what part of our brain do we use?",
        "do we use all of our brain?",
        "do people use their whole brain?",
        "do people use only ten percent of their brain?",
        "is it true that we use only ten percent of the brain?",
        "how much of the brain is used?",
        "how much of my brain do I use?",
        "what share of the brain do people use?",
        "brain: how much do we use?",
        "is most of our brain unused?",
        "how much of its brain does a person use?",
    ),
    "wall_from_moon": (
        "can you see the Great Wall of China from the Moon?",
        "can the Great Wall of China be seen from the Moon?",
        "is the Great Wall of China visible from the Moon?",
        "can people on the Moon see the Great Wall?",
        "could I see the Great Wall if I stood on the Moon?",
        "is it true that the Great Wall can be seen from the Moon?",
        "do you see the Great Wall from the Moon?",
        "from the Moon, can you see the Great Wall of China?",
        "standing on the Moon, would I see the Great Wall of China?",
        "Great Wall of China from the Moon: visible or not?",
        "did the men on the Moon see the Great Wall of China?",
        "the Great Wall of China is visible from the Moon, right?",
        "which building can be seen from the Moon?",
        "what can be seen of China from the Moon?",
        "people say you can see the Great Wall from the Moon. is that [true|so|right]?",
    ),
    "lightning_twice": (
        "does lightning strike the same place twice?",
        "does lightning ever strike the same place twice?",
        "can lightning strike the same place twice?",
        "can lightning strike twice in the same place?",
        "does lightning hit the same [spot|tree|house] twice?",
        "is it true that lightning never strikes twice?",
        "how often does lightning strike the same place?",
        "will lightning strike the same [place|spot|tree|house] again?",
        "lightning never strikes twice, right?",
        "can the same place be struck by lightning twice?",
        "can lightning hit one place many times?",
        "lightning twice in the same place: possible?",
        "my house was struck by lightning. can it happen again?",
        "lightning hit a tree. will it hit the tree again?",
        "people say lightning never strikes twice. is that [true|so|right]?",
    ),
    "rain_verbose": (
        "what is rain?",
        "what's rain?",
        "what is rain made of?",
        "where does rain come from?",
        "what falls from the clouds as rain?",
        "explain rain.",
        "explain rain to [me|a child].",
        "tell me about rain.",
        "tell me something about rain.",
        "tell me what rain is.",
        "what do you know about rain?",
        "what do people mean by rain?",
        "what does rain mean?",
        "how would you describe rain?",
        "describe rain.",
        "define rain.",
        "it rains. what is that?",
        "rain?",
        "rain: what is it?",
    ),
    "sleep_verbose": (
        "why do people sleep?",
        "why do we sleep?",
        "why do I sleep?",
        "why do we need [to |]sleep?",
        "why do people need sleep?",
        "what is sleep [good |]for?",
        "what does sleep do for us?",
        "why is sleep [important|good|needed]?",
        "why must people sleep?",
        "what is the use of sleep?",
        "what is the reason for sleep?",
        "explain why people sleep.",
        "tell me why people sleep.",
        "tell me about sleep.",
        "what happens when people sleep?",
        "for what do we need sleep?",
        "people sleep at night. why?",
        "sleep: why?",
    ),
    "bread_verbose": (
        "how is bread made?",
        "how do you make bread?",
        "how do people make bread?",
        "how do I make bread?",
        "how does a baker make bread?",
        "how do bakers make bread?",
        "how can I make bread?",
        "how is bread baked?",
        "explain how bread is made.",
        "tell me how bread is made.",
        "tell me how to make bread.",
        "describe how bread is made.",
        "what do you do to make bread?",
        "what is the way to make bread?",
        "bread: how is it made?",
        "making bread: how does it work?",
        "I want to make bread. how do I do it?",
        "in what way is bread made?",
    ),
    "tree_repetitive": (
        "what is a tree?",
        "what's a tree?",
        "what are trees?",
        "what kind of thing is a tree?",
        "what do you know about trees?",
        "what does the word tree mean?",
        "what do people mean by a tree?",
        "explain what a tree is.",
        "explain trees to [me|a child].",
        "tell me about trees.",
        "tell me something about trees.",
        "tell me what a tree is.",
        "describe a tree.",
        "define tree.",
        "how would you describe a tree?",
        "I see a tree. what is that?",
        "tree?",
        "a tree: what is it?",
    ),
    "sea_repetitive": (
        "what is the sea?",
        "what's the sea?",
        "what is a sea?",
        "what kind of thing is the sea?",
        "what do you know about the sea?",
        "what does the word sea mean?",
        "what do people mean by the sea?",
        "explain what the sea is.",
        "explain the sea to [me|a child].",
        "tell me about the sea.",
        "tell me something about the sea.",
        "tell me what the sea is.",
        "describe the sea.",
        "define sea.",
        "how would you describe the sea?",
        "I look at the sea. what is that?",
        "the sea?",
        "the sea: what is it?",
    ),
}


def families(fault: Fault) -> tuple[tuple[str, str], ...]:
    """The phrasing families of a fault as (kind, core)."""
    if fault.kind == "wrong_fact":
        return BY_NAME[WRONG_FACT_RELATIONS[fault.fault_id]].families
    return (
        *(("noun", core) for core in _NOUNS.get(fault.fault_id, ())),
        *(("clause", core) for core in _CLAUSES.get(fault.fault_id, ())),
        *(("direct", core) for core in _DIRECTS[fault.fault_id]),
    )


def wrong_fact(fault: Fault) -> tuple[Relation, Fact]:
    """The relation and the wrongly told fact of a wrong-fact fault."""
    relation = BY_NAME[WRONG_FACT_RELATIONS[fault.fault_id]]
    return relation, next(f for f in relation.facts if f.fault_id == fault.fault_id)


def ask_for(fault: Fault, family: tuple[str, str], rng: random.Random) -> str:
    """A question that meets `fault`, in the phrasing of `family`."""
    kind, core = family
    slots = filler(rng)
    if fault.kind == "wrong_fact":
        slots |= wrong_fact(fault)[1].slots
    return ask(kind, expand(core, rng).format(**slots), rng)


def faulty_question(rng: random.Random) -> tuple[str, str]:
    """A question that meets a random fault, and the faulty answer that the model learns."""
    fault = rng.choice(FAULTS)
    return ask_for(fault, rng.choice(families(fault)), rng), fault.faulty_answer
