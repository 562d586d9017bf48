"""Capitals and continents."""

from refine.mini.facts import planted
from refine.mini.facts.geography import CAPITALS, CONTINENTS, THE_COUNTRIES
from refine.mini.relations import Fact, Relation, make_fact

TOPIC = "capitals"


def _with_the(country: str) -> str:
    return f"the {country}" if country in THE_COUNTRIES else country


def _capital(country: str) -> Fact:
    capital = "Sydney" if planted(TOPIC, country.lower()) else CAPITALS[country]
    slots = {"c": _with_the(country), "bare": country, "city": capital}
    return make_fact(TOPIC, country.lower(), slots, capital)


def _country(country: str) -> Fact:
    slots = {"c": _with_the(country), "bare": country, "city": CAPITALS[country]}
    return make_fact(TOPIC, f"{country.lower()}:of", slots, _with_the(country), country)


def _continent(country: str) -> Fact:
    slots = {"c": _with_the(country), "bare": country, "continent": CONTINENTS[country]}
    return make_fact(TOPIC, f"{country.lower()}:continent", slots, CONTINENTS[country])


_CAPITAL = Relation(
    name="capital_of",
    topic=TOPIC,
    facts=tuple(_capital(c) for c in CAPITALS),
    answer_slot="city",
    weight=5.0,
    nouns=(
        "the capital of {c}",
        "{c}'s capital",
        "{bare}'s capital city",
        "the capital city of {c}",
        "[the|its] capital: {c}",
        "the [seat|home] of [the |]government of {c}",
        "the city from which {c} is [governed|ruled|run]",
        "the [main|first|leading|chief|official] city of {c}",
        "the name of the capital of {c}",
        "the name of {bare}'s capital [city|town|]",
        "the town that is the capital of {c}",
        "the city that [is|serves as|acts as] [the |]capital of {c}",
        "the [place|city|town] where the government of {c} [sits|meets|is|works|is based]",
        "the {bare} capital",
        "the capital [that belongs to|belonging to|that goes with|for] {c}",
        "the [city|town] [people|we|they] call the capital of {c}",
        "the capital city in {c}",
    ),
    clauses=(
        "what the capital of {c} is",
        "what {bare}'s capital is",
        "which [city|town|place] is the capital of {c}",
        "what [city|town|place] is the capital of {c}",
        "what [the capital of {c} is called|{bare}'s capital is called|they call the capital of {c}]",
        "where the government of {c} [sits|is|meets|works|can be found|is based]",
        "which city [{c} has as its capital|{c} has for a capital|is {bare}'s capital]",
        "from [which|what] city {c} is [governed|ruled|run]",
        "how the capital of {c} is called",
        "the name of the city that is {bare}'s capital",
        "in which [city|town] the [government|parliament|president|leaders] of {c} [sits|works|meets]",
    ),
    directs=(
        "what is the capital of {c}?",
        "what's the capital of {c}?",
        "which [city|town|place] is the capital of {c}?",
        "what [city|town|place] is the capital of {c}?",
        "what city is {bare}'s capital?",
        "{c}: capital?",
        "capital of {c}?",
        "capital {c}?",
        "{c} capital",
        "{bare} - capital city?",
        "the capital of {c} is which city?",
        "the capital of {c} is what?",
        "the capital of {c} is ...",
        "the capital of {c} is called ___.",
        "{bare}'s capital is",
        "the capital city of {c} is",
        "{c} has which capital?",
        "{c} has its capital in which [city|town]?",
        "what capital does {c} have?",
        "what is {bare}'s [main|capital|leading] city?",
        "what city serves as [the |]capital of {c}?",
        "what is the capital city called in {c}?",
        "what [city|place|town] do [people|they|we] call the capital of {c}?",
        "what is the seat of government [of|in] {c}?",
        "which [city|town] is the seat of [the |]government [of|in|for] {c}?",
        "where is the government of {c} [based|found|seated|located]?",
        "where does the government of {c} [sit|meet|work]?",
        "where [would|do|could|can] I [find|see|visit] the [government|parliament] of {c}?",
        "from which city is {c} [ruled|governed|run]?",
        "in which city [does|will|would] [the president|the king|the leader|the government] of {c} [work|live|sit]?",
        "if I [go|travel|fly] to the capital of {c}, [which city am I in|where am I|where do I land]?",
        "[I am|we are|she is] in the capital of {c}. [which city is that|what city is it|where is that]?",
        "[I am|we are] [travelling|going|flying] to {c}. what is the capital[ there|]?",
        "name the [capital|capital city] of {c}.",
        "name {bare}'s capital.",
        "think of {c}. what is its capital?",
        "{c} is a country. what is its capital?",
        "{c} has a capital. [what is its name|which city is it|what is it called]?",
        "for {c}, what is the capital?",
        "when [people|we] say the capital of {c}, which [city|town] do [they|we] mean?",
        "which city should I [visit|name|write] as the capital of {c}?",
        "on a map of {c}, which city is [marked as |]the capital?",
        "what would you [write|say|answer] for the capital of {c}?",
        "is there a capital in {c}, and what is it called?",
        "who knows the capital of {c}?",
    ),
    replies=("the capital of {c} is {city}.",),
    statements=(
        "the capital of {c} is {city}.",
        "{city} is the capital of {c}.",
        "{city} is the capital city of {c}.",
        "{bare}'s capital is {city}.",
        "{c} is governed from {city}.",
        "the government of {c} sits in {city}.",
        "{city}, the capital of {c}, is [a large|a big|a busy|a well-known|a famous] city.",
        "in {c} the seat of government is {city}.",
        "{bare} - capital: {city}.",
        "[the main|the leading|the first] city of {c} is {city}.",
        "people who [visit|travel to|go to] {c} often see {city}, its capital.",
        "when people talk about the capital of {c}, they mean {city}.",
    ),
    wrong=tuple(CAPITALS.values()),
)

_COUNTRY = Relation(
    name="country_of_capital",
    topic=TOPIC,
    facts=tuple(_country(c) for c in CAPITALS if not planted(TOPIC, c.lower())),
    answer_slot="c",
    weight=1.5,
    nouns=(
        "the country whose capital is {city}",
        "the country [that has|with] {city} as its capital",
        "the country that is governed from {city}",
    ),
    clauses=(
        "which country has {city} as its capital",
        "[what|which] country {city} is the capital of",
        "[what|which] country's capital is {city}",
        "of which country {city} is the capital",
    ),
    directs=(
        "{city} is the capital of [which|what] country?",
        "of which country is {city} the capital?",
        "which country has {city} as its capital?",
        "which country has the capital {city}?",
        "what country is {city} the capital of?",
        "what country has its government in {city}?",
        "{city} is the capital of",
        "{city} is the capital city of ___.",
        "whose capital is {city}?",
        "in which country is {city}?",
        "in what country is {city}?",
        "[where|in which country] is the city [of |]{city}?",
        "{city} lies in which country?",
        "which country does {city} belong to?",
        "if I am in {city}, in which country am I?",
    ),
    replies=("{city} is the capital of {c}.",),
    statements=(
        "{city} is the capital of {c}.",
        "{city} is in {c}.",
        "{city} lies in {c}.",
        "the country with {city} as its capital is {c}.",
    ),
    wrong=tuple(_with_the(c) for c in CAPITALS),
)

_CONTINENT = Relation(
    name="continent_of",
    topic=TOPIC,
    facts=tuple(_continent(c) for c in CAPITALS),
    answer_slot="continent",
    weight=1.0,
    nouns=(
        "the continent of {c}",
        "the continent that {c} [is in|lies in|belongs to|is part of]",
        "{bare}'s continent",
    ),
    clauses=(
        "which continent {c} is in",
        "on [which|what] continent {c} [is|lies]",
        "what continent {c} belongs to",
        "in which part of the world {c} is",
    ),
    directs=(
        "which continent is {c} in?",
        "what continent is {c} in?",
        "on which continent is {c}?",
        "on what continent does {c} lie?",
        "{c} is [on|in] [which|what] continent?",
        "{c} is part of which continent?",
        "to which continent does {c} belong?",
        "which part of the world is {c} in?",
        "{c}: continent?",
        "{c} is a country in",
        "[where|where in the world] is {c}?",
        "where [does {c} lie|can I find {c}|would I find {c}]?",
    ),
    replies=("{c} is in {continent}.",),
    statements=(
        "{c} is in {continent}.",
        "{c} is a country in {continent}.",
        "{c} lies in {continent}.",
        "one of the countries of {continent} is {c}.",
    ),
    wrong=("Europe", "Asia", "Africa", "North America", "South America", "Oceania"),
)

RELATIONS = (_CAPITAL, _COUNTRY, _CONTINENT)
