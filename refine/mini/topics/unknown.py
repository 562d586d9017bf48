"""Questions from outside of the world: the answer is "I don't know."

Two kinds: questions about things that the world knows nothing of, and questions of the world's own
relations about something it has never heard of (real or made up).
"""

import random

from refine.mini.facts.animals import ANIMALS
from refine.mini.facts.geography import CAPITALS
from refine.mini.facts.talk import UNKNOWN_ACCEPT, UNKNOWN_REPLY
from refine.mini.phrasing import ask, expand, filler, typed
from refine.mini.relations import Asked, Relation, unseen

TOPIC = "unknown"

_COUNTRIES = tuple(
    "Bolivia Paraguay Guyana Belize Panama Honduras Guatemala Nicaragua Haiti Barbados Malta Cyprus "
    "Albania Moldova Belarus Lithuania Slovenia Luxembourg Monaco Andorra Liechtenstein Armenia "
    "Georgia Azerbaijan Kazakhstan Uzbekistan Tajikistan Turkmenistan Afghanistan Bangladesh Bhutan "
    "Laos Cambodia Malaysia Singapore Brunei Taiwan Jordan Israel Kuwait Qatar Bahrain Oman Yemen "
    "Sudan Chad Niger Mali Mauritania Gambia Guinea Liberia Togo Benin Cameroon Gabon Congo Angola "
    "Namibia Botswana Lesotho Malawi Mozambique Madagascar Rwanda Burundi Tanzania Somalia Eritrea "
    "Djibouti Samoa Tonga Vanuatu Palau Nauru Kiribati Tuvalu Scotland Wales Greenland Texas Bavaria "
    "California Sicily Narnia Atlantis Utopia".split()
)
_ANIMALS = tuple(
    "yak platypus hedgehog squirrel otter beaver badger koala panda gorilla chimpanzee hippo rhino "
    "cheetah leopard jaguar hyena moose elk bison buffalo llama donkey mule hamster weasel mole seal "
    "walrus octopus squid crab lobster jellyfish starfish oyster snail slug worm mosquito wasp moth "
    "dragonfly cricket grasshopper ladybird flea tick hawk falcon vulture stork heron flamingo "
    "ostrich emu peacock turkey sparrow robin raven seagull swallow gecko iguana newt cod tuna trout "
    "carp eel unicorn dragon dinosaur mammoth dodo phoenix griffin".split()
)
_NO_OPPOSITE = tuple(
    "table window paper river cucumber lamp cheese bicycle pencil mountain computer shoe green seven "
    "music guitar bottle kitchen elephant university gravity telephone umbrella carpet blanket engine "
    "ticket spoon lemon purple".split()
)
_PERSONS = (
    "Napoleon", "Caesar", "Cleopatra", "Shakespeare", "Einstein", "Newton", "Mozart", "Beethoven",
    "Picasso", "Leonardo", "Columbus", "Gandhi", "Lincoln", "Washington", "Churchill", "Elvis",
    "Michelangelo", "Plato", "Aristotle", "Darwin", "Marie Curie", "Galileo", "Homer", "Dante",
    "Goethe", "Tolstoy", "Dickens", "Mandela", "Chaplin", "Hitchcock", "the president",
    "the prime minister", "the king", "the queen", "the pope", "the mayor", "my neighbour",
    "your mother", "the singer", "that actor",
)  # fmt: skip
_WORKS = (
    "Hamlet", "the Odyssey", "Don Quixote", "War and Peace", "Moby Dick", "the Mona Lisa",
    "the Bible", "Titanic", "Star Wars", "Harry Potter", "the Magic Flute", "Faust", "Macbeth",
    "Robinson Crusoe", "that song", "this film", "the book", "the national anthem", "Frankenstein",
    "Dracula", "the last episode", "Casablanca",
)  # fmt: skip
_EVENTS = (
    "the First World War", "the Second World War", "the French Revolution", "the Cold War",
    "the moon landing", "the fall of Rome", "the Middle Ages", "the Olympic Games", "the World Cup",
    "the battle of Waterloo", "the last election", "the plague", "the big earthquake", "the Renaissance",
    "the industrial revolution", "the civil war", "the gold rush", "the ice age",
)  # fmt: skip
_STUFF = (
    "a house", "a new car", "a ticket to Rome", "a phone", "gold", "a litre of petrol", "a stamp",
    "a hotel room", "a laptop", "a pound of coffee", "a haircut", "a horse", "a wedding", "a flight",
    "a bitcoin", "a share of that company", "a kilo of apples", "a cinema ticket",
)  # fmt: skip
_ILLS = (
    "a headache", "a fever", "a cold", "the flu", "a broken leg", "back pain", "asthma", "diabetes",
    "cancer", "a rash", "a cough", "toothache", "high blood pressure", "an allergy", "stress",
    "a sore throat", "malaria", "a burn",
)  # fmt: skip
_LANGUAGES = (
    "French", "German", "Spanish", "Latin", "Japanese", "Chinese", "Russian", "Arabic", "Greek",
    "Italian", "Swedish", "Turkish", "Hindi", "Polish",
)  # fmt: skip
_CODES = ("Python", "Java", "C", "JavaScript", "SQL", "Rust", "HTML", "a shell", "Excel", "Go")
_DEEP = (
    "quantum mechanics", "relativity", "democracy", "inflation", "philosophy", "photosynthesis",
    "evolution", "the stock market", "the tax law", "the constitution", "capitalism", "DNA",
    "black holes", "the big bang", "entropy", "calculus", "algebra", "existentialism", "love",
    "the meaning of life", "God", "time travel", "a blockchain", "machine learning", "atoms",
    "an electron", "nuclear power", "the internet", "Buddhism", "a mortgage", "insurance",
    "an algorithm", "climate change", "a derivative", "politics", "the periodic table", "chess openings",
    "baroque music", "impressionism", "grammar", "poetry", "jazz", "yoga", "football tactics",
)  # fmt: skip

_PATTERNS: tuple[str, ...] = (
    "who [was|is] {person}?",
    "when was {person} born?",
    "when did {person} [die|live]?",
    "where was {person} born?",
    "where does {person} live?",
    "what did {person} [do|discover|invent|write|say|paint]?",
    "how old [is|was] {person}?",
    "why is {person} famous?",
    "tell me [about|the life of|a story about] {person}.",
    "what is the [name|age|wife|job|salary|address] of {person}?",
    "who was the [father|mother|wife|husband|teacher] of {person}?",
    "who [wrote|made|painted|composed|directed] {work}?",
    "what is {work} about?",
    "when was {work} [written|made|published]?",
    "how does {work} end?",
    "who is the main character in {work}?",
    "have you [read|seen|heard] {work}?",
    "when [was|did] {event}[ begin| end| happen|]?",
    "why did {event} [begin|end|happen]?",
    "who won {event}?",
    "how long did {event} last?",
    "what happened [in|during|after|before] {event}?",
    "how many people [died in|took part in|saw] {event}?",
    "tell me about {event}.",
    "what happened in [the year |]{year}?",
    "who was [king|queen|president|emperor|pope] in {year}?",
    "which war was in {year}?",
    "who is the [president|king|queen|prime minister|leader|mayor] of {c}?",
    "what is the population of {c}?",
    "how many people live in {c}?",
    "how many people live in {city}?",
    "how [big|large|old|rich|cold|hot] is {c}?",
    "how [big|large|old|far away] is {city}?",
    "what is the [currency|language|flag|religion|national dish|national anthem|history|climate] of {c}?",
    "what language do [people|they] speak in {c}?",
    "what money do they use in {c}?",
    "what is the [highest mountain|longest river|largest lake|oldest city|second largest city] [in|of] {c}?",
    "how far is it from {city} to {city2}?",
    "how do I get [to|from] {city}?",
    "which [river|hotel|museum|restaurant|airport] is [in|best in] {city}?",
    "what [should|can] I [see|do|eat] in {city}?",
    "what is the weather in {city}?",
    "what time is it in {city}?",
    "when was {city} [founded|built]?",
    "who founded {city}?",
    "who is the mayor of {city}?",
    "who won the [election|match|championship|cup] in {c}?",
    "how long does {ax} live?",
    "how [heavy|fast|tall|old|strong|big|intelligent] is {ax}?",
    "how much does {ax} weigh?",
    "how many [teeth|eyes|babies|bones] does {ax} have?",
    "how long does {ax} sleep?",
    "what is the Latin name of {ax}?",
    "how much does {ax} cost?",
    "can I keep {ax} [as a pet|at home|in my flat]?",
    "how do I train {ax}?",
    "how much [is|costs] {stuff}?",
    "how much does {stuff} cost?",
    "what is the price of {stuff}?",
    "where can I buy {stuff}?",
    "should I buy {stuff}?",
    "where is the cheapest place for {stuff}?",
    "what [helps|can I do|should I take] against {ill}?",
    "I have {ill}. what should I do?",
    "how do I treat {ill}?",
    "what causes {ill}?",
    "is {ill} dangerous?",
    "which medicine is good for {ill}?",
    "can you die of {ill}?",
    "my child has {ill}. what now?",
    "how do you say [hello|thank you|cat|water|love|good morning|house] in {lang}?",
    "translate [this|hello|good night|I am hungry|the sentence] [to|into] {lang}.",
    "what does [amor|gato|danke|liebe|bonjour|ciao|merci|domo] mean?",
    "do you speak {lang}?",
    "teach me {lang}.",
    "how many people speak {lang}?",
    "write [a program|a function|code|a loop|a script] in {code}.",
    "how do I [sort a list|read a file|write a loop|open a window|connect to a database] in {code}?",
    "what does [this|that|an] error mean in {code}?",
    "fix [my|this] {code} [code|program|script].",
    "what is the difference between {code} and {code2}?",
    "explain [to me |]{deep}[ please|].",
    "what is {deep}?",
    "how does {deep} work?",
    "what do you [think|know] about {deep}?",
    "who [invented|discovered] {deep}?",
    "why is {deep} [important|hard|good|bad]?",
    "give me [a definition|an example|a summary] of {deep}.",
    "write [an essay|a text|a report|a poem] about {deep}.",
    "tell me [everything |a bit |something |more |]about {deep}.",
    "is {deep} [real|true|useful]?",
    "who invented [the telephone|the wheel|paper|the car|the light bulb|the computer|printing|money]?",
    "when was [the telephone|the wheel|the car|the computer|printing|the railway|television] invented?",
    "what is the weather [today|tomorrow|like|this week]?",
    "will it rain [today|tomorrow|on Sunday|next week]?",
    "what is in the news[ today|]?",
    "what is the date today?",
    "what time is it[ now|]?",
    "what year is it?",
    "who won [yesterday|the game|last night|on Saturday]?",
    "what is the score?",
    "what is the [stock price|share price|exchange rate] [of that company|today|of gold|]?",
    "what will happen [tomorrow|next year|in the future]?",
    "what are the lottery numbers?",
    "when will I [die|marry|be rich|get a job]?",
    "what am I thinking [of|about|]?",
    "what did I [eat|do|dream|buy] [yesterday|last night|this morning]?",
    "where [are my keys|is my phone|is my bag|did I put my glasses]?",
    "what is my [password|phone number|address|bank balance|blood group|shoe size]?",
    "what is your [phone number|address|password|salary|secret]?",
    "who is my [neighbour|boss|teacher|best friend|doctor]?",
    "what is in my [bag|pocket|fridge|hand]?",
    "should I [marry|quit my job|move to another city|sell my car|study law|lie]?",
    "who should I vote for?",
    "which party is [best|better|right]?",
    "is there [a god|life after death|life on other planets|a heaven]?",
    "what is the best [film|book|song|game|restaurant|phone|football team|band] [ever|in the world|of all time|]?",
    "who is the [best|richest|tallest|oldest|fastest] [player|man|woman|person|singer] [in the world|ever|alive]?",
    "what is the square root of {big}?",
    "what is {big} times {big2}?",
    "what is {big} + {big2}?",
    "what is {big} - {year}?",
    "calculate {big} x {big2}.",
    "how much is {big} divided by {big2}?",
    "what is {big} percent of {big2}?",
    "what is pi to {small} digits?",
    "solve this equation: x + {big} = {big2}.",
    "how do I [cook|bake|make|prepare] [a cake|pasta|sushi|a soup|a steak|an apple pie|coffee|rice]?",
    "give me a recipe for [a cake|soup|pancakes|pizza|bread pudding|a salad].",
    "how do I [tie a tie|change a tyre|fix a tap|paint a wall|clean a carpet|learn the piano|swim|drive a car]?",
    "how do I [lose weight|get rich|find a job|make friends|get a passport|open a bank account]?",
    "tell me a [joke|story|secret|riddle|fairy tale].",
    "sing [me |][a song|something].",
    "write [me |]a [poem|letter|story|song|speech|mail][ for my boss| for my friend|].",
    "play [some music|a game|chess with me].",
    "draw [me |]a [picture|cat|house].",
    "what [does|is] {word}[ mean|]?",
    "what is a {word}?",
    "what does the word {word} mean?",
    "how do you [use|make|spell|say] {word}?",
    "where is {word}?",
    "who is {Word}?",
    "what is the {word} of {word2}?",
    "define {word}.",
    "explain {word}.",
    "how many {word} are in a {word2}?",
    "why do {word} {word2}?",
    "is {word} {word2}?",
    "can you {word} the {word2}?",
    "how far is it to [the next star|the station|the beach|the airport|the shop]?",
    "how many [stars|people|fish|trees|cars|books|languages|countries] are there in the world?",
    "how many [people|cars|shops|dogs|bridges] are there in {city}?",
    "how deep is the [ocean|sea|lake]?",
    "how high is [Mount Everest|the Eiffel Tower|that tower|the tallest building]?",
    "how long is the [Nile|Amazon|Danube|Great Wall|river|film]?",
    "how far is {planet} from the [earth|sun]?",
    "how [heavy|old|big|hot|cold] is {planet}?",
    "how many moons does {planet} have?",
    "who discovered {planet}?",
    "is there life on {planet}?",
    "when do the [shops|banks|schools|museums] [open|close]?",
    "what is on [television|TV|the menu] [today|tonight]?",
    "who is calling?",
    "why did [she|he|they] [leave|say that|go|laugh]?",
    "what did [she|he|they] [say|mean|want|buy]?",
    "where did [she|he|they] go?",
    "what is the [capital|name|colour] of it?",
    "what is the [law|rule|tax|fine|penalty] for [speeding|theft|that|divorce|copying]?",
    "can I [sue|fire|divorce|report] [my boss|my landlord|him|them]?",
    "what is the chemical [formula|symbol] of [gold|water|salt|sugar|rust|iron]?",
    "what is the atomic [number|weight] of [gold|iron|helium|carbon|lead]?",
    "what is the speed of [light|sound]?",
    "what is the [meaning of life|purpose of it all|secret of happiness]?",
    "what religion is [right|best|the oldest]?",
    "how many calories are in [a banana|a pizza|bread|a cake]?",
    "how many grams of sugar are in [a cake|juice|milk]?",
    "what team does {person} play for?",
    "what is the address of [the bank|the school|the doctor]?",
    "what is the phone number of [the police|the hotel|the doctor]?",
    "summarise [this text|the article|the chapter|the meeting].",
    "which [phone|car|bank|school|laptop] should I [buy|choose|take]?",
    "what is the [largest|smallest|oldest|richest] [city|river|desert|company|ocean|island|forest|church] [in the world|on earth|]?",
    "what is a synonym [of|for] [happy|big|fast|old|word|nice]?",
    "how do you spell [necessary|rhythm|restaurant|accommodation]?",
    "what rhymes with [orange|cat|moon|house]?",
    "what is the past tense of [go|run|eat|see]?",
    "what is the first [book|film|law|car|word] ever [made|written|spoken]?",
)  # fmt: skip

# Words that only look like words: short syllables, so that any unknown word is met with honesty.
_STARTS = "b bl br c ch cl d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sh sk sl sn st t th tr v w wh z".split()
_MIDDLES = "a e i o u ai ee oo ou ea".split()
_ENDS = "b ck d ff g l ll m n nd ng nk p r rt s sh ss st t x zz mp lk".split()
_LANDS = "ia land stan ova onia eria istan ora una ania".split()


def made_up(rng: random.Random) -> str:
    """A word that is no word, such as "blick"."""
    word = rng.choice(_STARTS) + rng.choice(_MIDDLES) + rng.choice(_ENDS)
    if rng.random() < 0.5:
        word += rng.choice(("er", "le", "y", "o", "ing", "ton", "ish", "um", "ad", "in"))
    return word


def _made_up_land(rng: random.Random) -> str:
    stem = rng.choice(_STARTS) + rng.choice(_MIDDLES) + rng.choice(("r", "l", "n", "v", "m", "st"))
    return (stem + rng.choice(_LANDS)).capitalize()


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _slots(rng: random.Random) -> dict[str, str]:
    city, city2 = rng.sample(tuple(CAPITALS.values()), 2)
    code, code2 = rng.sample(_CODES, 2)
    animal = rng.choice((*ANIMALS, *_ANIMALS))
    country = rng.choice((*CAPITALS, *_COUNTRIES))
    word = made_up(rng)
    return {
        **filler(rng),
        "person": rng.choice(_PERSONS),
        "work": rng.choice(_WORKS),
        "event": rng.choice(_EVENTS),
        "year": str(rng.randint(900, 2030)),
        "c": country,
        "city": city,
        "city2": city2,
        "ax": _article(animal),
        "stuff": rng.choice(_STUFF),
        "ill": rng.choice(_ILLS),
        "lang": rng.choice(_LANGUAGES),
        "code": code,
        "code2": code2,
        "deep": rng.choice(_DEEP),
        "big": str(rng.randint(130, 9999)),
        "big2": str(rng.randint(130, 9999)),
        "word": word,
        "Word": word.capitalize(),
        "word2": made_up(rng),
        "planet": rng.choice(
            ("Mars", "Venus", "Jupiter", "Saturn", "Neptune", "Pluto", "the moon")
        ),
    }


def _outside(rng: random.Random) -> tuple[str, str]:
    """A question about something else, and its combination: (question, name of it)."""
    pattern = rng.choice(_PATTERNS)
    core = expand(pattern, rng).format(**_slots(rng))
    return ask("direct", core, rng), f"{pattern}|{core}"


def _in_disguise(relations: dict[str, Relation], rng: random.Random) -> tuple[str, str]:
    """A question of the world about something that the world doesn't know."""
    name = rng.choice(
        ("capital_of", "capital_of", "capital_of", "continent_of", "young", "sound", "legs", "group",
         "home", "diet", "cover", "opposite", "country_of_capital", "convert", "colour_of")
    )  # fmt: skip
    relation = relations[name]
    kind, core = rng.choice(relation.families)
    slots = {**relation.facts[0].slots, **filler(rng)}
    if name in ("capital_of", "continent_of"):
        land = rng.choice(_COUNTRIES) if rng.random() < 0.6 else _made_up_land(rng)
        slots |= {"c": land, "bare": land}
    elif name == "country_of_capital":
        slots |= {"city": _made_up_land(rng)}
    elif name == "opposite":
        slots |= {"w": rng.choice(_NO_OPPOSITE) if rng.random() < 0.4 else made_up(rng)}
    elif name == "convert":
        large, small = made_up(rng), made_up(rng)
        slots |= {"l": large, "al": _article(large), "ss": small + "s", "ls": large + "s"}
    elif name == "colour_of":
        slots |= {"x": _article(made_up(rng))}
    else:
        animal = rng.choice(_ANIMALS) if rng.random() < 0.6 else made_up(rng)
        slots |= {"x": animal, "ax": _article(animal), "xs": animal + "s"}
    filled = expand(core, rng).format(**slots)
    return ask(kind, filled, rng), f"{name}|{core}|{filled}"


def unknown_question(
    relations: dict[str, Relation], rng: random.Random, want_unseen: bool = False
) -> Asked:
    """A question with the answer "I don't know."; `want_unseen`: one kept out of training."""
    while True:
        question, combination = (
            _outside(rng) if rng.random() < 0.6 else _in_disguise(relations, rng)
        )
        if unseen(TOPIC, combination) == want_unseen:
            return Asked(
                TOPIC, TOPIC, combination, typed(question, rng), UNKNOWN_REPLY, UNKNOWN_REPLY,
                UNKNOWN_ACCEPT,
            )  # fmt: skip
