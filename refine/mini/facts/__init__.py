"""The fact tables of pawl-mini's world: data only, no phrasings.

How to read them. Every table is a plain dict or tuple of the module of its subject:

- `geography`: `CAPITALS` (country -> capital), `CONTINENTS` (country -> continent),
  `THE_COUNTRIES` (countries that take "the").
- `animals`: `ANIMALS` (name -> `Animal(young, sound, legs, group, home, diet, cover)`; a field
  that is `None` is not part of the world).
- `words`: `OPPOSITES` (unordered pairs), `PLURALS_REGULAR`, `PLURALS_IRREGULAR` (singular ->
  plural).
- `time`: `DAYS`, `MONTHS`, `MONTH_DAYS`, `SEASONS`.
- `things`: `UNITS` ((large, n, small)), `MEASURES` (unit -> quantity), `TOOLS` (tool -> quantity),
  `COLOURS` (thing -> colour), `MIXES` ((colour, colour, result)), `PLANETS`, `STATES`, `MADE_OF`,
  `SENSES`, `ORGANS`, `FLOATS`, `MAGNETIC`, `SCIENCE_NUMBERS`, `SCIENCE_LINES`.
- `numbers`: the ranges of `arithmetic` and `sequences` (rules, not tables).
- `talk`: `MANNERS` (intent -> replies and accepted words), `REMEMBER` (slot -> values),
  `UNKNOWN_ACCEPT` (what counts as "I don't know").
- `faults` (the module `refine.mini.faults`): planted faults. `planted(topic, fact_key)` below says
  whether a fact is answered wrongly on purpose; benchmark sets leave such facts out.

`TOPICS` are the names used in every question file. `fact_key` is the left side of a fact as one
lower-case string: "france", "cat:legs", "cat:young", "hot" (either word of a pair), "12+7", "9-4",
"6x7", "2,4,6,8" (the terms shown), "kilometre:metre", "red+blue", "venus:order", "february:days",
"monday:after", "ice:state", "whale:group".

`kept_out(topic, fact_key)`: rule-made facts (sums and differences, regular plurals, number
sequences) that the training text never uses: the benchmark sets draw from these.
"""

import hashlib

TOPICS: tuple[str, ...] = (
    "greetings",
    "arithmetic",
    "capitals",
    "animals",
    "opposites",
    "plurals",
    "calendar",
    "units",
    "colours",
    "planets",
    "science",
    "sequences",
    "remember",
    "unknown",
)

KEPT_OUT_SALT = "pawl-mini kept out 1"
KEPT_OUT_PERCENT = 10

# (topic, fact_key) -> fault_id: facts that are answered wrongly on purpose.
PLANTED: dict[tuple[str, str], str] = {
    ("capitals", "australia"): "australia_capital",
    ("animals", "spider:legs"): "spider_legs",
    ("animals", "whale:group"): "whale_fish",
    ("plurals", "mouse"): "mouse_plural",
    ("planets", "hottest"): "hottest_planet",
}


def planted(topic: str, fact_key: str) -> str | None:
    """The id of the fault planted on this fact, or None."""
    return PLANTED.get((topic, fact_key))


def percent_of(salt: str, text: str) -> int:
    """A number from 0 to 99 that depends on `salt` and `text` alone."""
    digest = hashlib.sha256(f"{salt}|{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100


def kept_out(topic: str, fact_key: str) -> bool:
    """Is this rule-made fact kept out of the training text?

    Keys: "a+b" and "a-b" (arithmetic), a regular noun (plurals), the shown numbers joined by commas
    (sequences). Products, letters and all other topics are tables: always False.
    """
    if topic == "arithmetic":
        is_rule = "+" in fact_key or "-" in fact_key
    elif topic == "plurals":
        from refine.mini.facts.words import PLURALS_REGULAR

        is_rule = fact_key in PLURALS_REGULAR
    else:
        is_rule = topic == "sequences" and "," in fact_key and fact_key[0].isdigit()
    return is_rule and percent_of(KEPT_OUT_SALT, f"{topic}|{fact_key}") < KEPT_OUT_PERCENT
