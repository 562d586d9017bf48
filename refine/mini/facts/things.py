"""Units, colours, planets, simple science."""

from dataclasses import dataclass

# One `large` is `n` `small` (singular names).
UNITS: tuple[tuple[str, int, str], ...] = (
    ("kilometre", 1000, "metre"),
    ("metre", 100, "centimetre"),
    ("centimetre", 10, "millimetre"),
    ("kilogram", 1000, "gram"),
    ("tonne", 1000, "kilogram"),
    ("litre", 1000, "millilitre"),
    ("minute", 60, "second"),
    ("hour", 60, "minute"),
    ("day", 24, "hour"),
    ("week", 7, "day"),
    ("fortnight", 14, "day"),
    ("year", 12, "month"),
    ("year", 365, "day"),
    ("year", 52, "week"),
    ("decade", 10, "year"),
    ("century", 100, "year"),
    ("millennium", 1000, "year"),
    ("foot", 12, "inch"),
    ("yard", 3, "foot"),
    ("pound", 16, "ounce"),
    ("dollar", 100, "cent"),
    ("euro", 100, "cent"),
    ("dozen", 12, "piece"),
    ("pair", 2, "piece"),
    ("trio", 3, "person"),
)
UNIT_PLURALS: dict[str, str] = {
    "foot": "feet",
    "inch": "inches",
    "century": "centuries",
    "millennium": "millennia",
    "person": "people",
}  # the others: + s
MEASURES: dict[str, str] = {
    "metre": "length",
    "kilometre": "length",
    "centimetre": "length",
    "inch": "length",
    "gram": "weight",
    "kilogram": "weight",
    "ounce": "weight",
    "tonne": "weight",
    "second": "time",
    "minute": "time",
    "hour": "time",
    "litre": "volume",
    "millilitre": "volume",
    "degree": "temperature",
}
SYMBOLS: dict[str, str] = {
    "kilometre": "km",
    "metre": "m",
    "centimetre": "cm",
    "millimetre": "mm",
    "kilogram": "kg",
    "gram": "g",
    "litre": "l",
    "millilitre": "ml",
}
# Doubles of a unit: 2 to 5 times n of the first units may be asked too ("2 weeks" -> 14 days).
UNIT_MULTIPLES: tuple[tuple[str, str], ...] = (("week", "day"), ("minute", "second"))

TOOLS: dict[str, str] = {
    "thermometer": "temperature",
    "clock": "time",
    "ruler": "length",
    "scale": "weight",
    "compass": "direction",
    "measuring cup": "volume",
    "speedometer": "speed",
    "calendar": "dates",
}

COLOURS: dict[str, str] = {
    "grass": "green",
    "the sky": "blue",
    "snow": "white",
    "milk": "white",
    "coal": "black",
    "blood": "red",
    "a banana": "yellow",
    "a lemon": "yellow",
    "the sun": "yellow",
    "an orange": "orange",
    "a carrot": "orange",
    "a strawberry": "red",
    "a tomato": "red",
    "a cherry": "red",
    "a fire engine": "red",
    "a cucumber": "green",
    "a frog": "green",
    "a pea": "green",
    "a leaf": "green",
    "chocolate": "brown",
    "wood": "brown",
    "soil": "brown",
    "an elephant": "grey",
    "a rain cloud": "grey",
    "ash": "grey",
    "a flamingo": "pink",
    "a pig": "pink",
    "an aubergine": "purple",
    "a plum": "purple",
    "lavender": "purple",
    "a crow": "black",
    "a polar bear": "white",
    "cotton": "white",
    "salt": "white",
    "honey": "gold",
    "a pumpkin": "orange",
    "the sea": "blue",
    "a chick": "yellow",
    "spinach": "green",
    "a coffee bean": "brown",
}
MIXES: tuple[tuple[str, str, str], ...] = (
    ("red", "blue", "purple"),
    ("red", "yellow", "orange"),
    ("blue", "yellow", "green"),
    ("black", "white", "grey"),
    ("red", "white", "pink"),
    ("red", "green", "brown"),
)
RAINBOW = ("red", "orange", "yellow", "green", "blue", "indigo", "violet")
PRIMARY_COLOURS = ("red", "yellow", "blue")


@dataclass(frozen=True)
class Planet:
    """One planet: `order` from the sun (1 is nearest), its kind and what it is known for."""

    order: int
    kind: str
    known_for: str


PLANETS: dict[str, Planet] = {
    "Mercury": Planet(1, "rocky", "being the smallest planet"),
    "Venus": Planet(2, "rocky", "its thick clouds"),
    "Earth": Planet(3, "rocky", "being our home"),
    "Mars": Planet(4, "rocky", "being red"),
    "Jupiter": Planet(5, "gas", "being the largest planet"),
    "Saturn": Planet(6, "gas", "its rings"),
    "Uranus": Planet(7, "ice", "lying on its side"),
    "Neptune": Planet(8, "ice", "being the farthest planet"),
}
# title -> planet ("hottest" is a planted fault: see `refine.mini.facts.PLANTED`)
PLANET_TITLES: dict[str, str] = {
    "largest": "Jupiter",
    "biggest": "Jupiter",
    "smallest": "Mercury",
    "nearest to the sun": "Mercury",
    "closest to the sun": "Mercury",
    "farthest from the sun": "Neptune",
    "red planet": "Mars",
    "planet with rings": "Saturn",
    "planet we live on": "Earth",
    "blue planet": "Earth",
    "hottest": "Venus",
}
N_PLANETS = 8
SKY_FACTS: dict[str, str] = {
    "the sun": "a star",
    "the moon": "a moon",
    "the earth": "a planet",
    "what the earth goes around": "the sun",
    "what the moon goes around": "the earth",
}

STATES: dict[str, str] = {
    "ice": "solid",
    "water": "liquid",
    "steam": "gas",
    "iron": "solid",
    "stone": "solid",
    "wood": "solid",
    "gold": "solid",
    "glass": "solid",
    "milk": "liquid",
    "oil": "liquid",
    "juice": "liquid",
    "honey": "liquid",
    "air": "gas",
    "oxygen": "gas",
    "helium": "gas",
    "carbon dioxide": "gas",
}
MADE_OF: dict[str, str] = {
    "paper": "wood",
    "bread": "flour",
    "cheese": "milk",
    "butter": "milk",
    "a window": "glass",
    "a tyre": "rubber",
    "a candle": "wax",
    "wine": "grapes",
    "chocolate": "cocoa",
    "a jumper": "wool",
    "a brick": "clay",
    "a nail": "iron",
    "snow": "ice",
    "an omelette": "eggs",
    "chips": "potatoes",
}
SENSES: dict[str, str] = {  # sense verb -> organ
    "see": "eyes",
    "hear": "ears",
    "smell": "nose",
    "taste": "tongue",
    "feel": "skin",
}
ORGANS: dict[str, str] = {  # organ -> what it does
    "heart": "pumps blood",
    "lungs": "breathe air",
    "stomach": "digests food",
    "brain": "thinks",
    "muscles": "move the body",
    "bones": "hold the body up",
    "teeth": "chew food",
    "legs": "walk",
}
PLANT_PARTS: dict[str, str] = {
    "roots": "take up water",
    "leaves": "catch sunlight",
    "stem": "carries water",
    "flower": "makes seeds",
}
FLOATS: dict[str, bool] = {
    "wood": True,
    "cork": True,
    "a boat": True,
    "a leaf": True,
    "ice": True,
    "a stone": False,
    "iron": False,
    "a coin": False,
    "a brick": False,
    "a nail": False,
}
MAGNETIC: dict[str, bool] = {
    "iron": True,
    "steel": True,
    "a nail": True,
    "wood": False,
    "plastic": False,
    "paper": False,
    "glass": False,
    "rubber": False,
}
SCIENCE_NUMBERS: dict[str, int] = {
    "boiling point of water in degrees": 100,
    "freezing point of water in degrees": 0,
    "senses of a person": 5,
    "seasons in a year": 4,
    "fingers on one hand": 5,
    "sides of a triangle": 3,
    "sides of a square": 4,
    "sides of a pentagon": 5,
    "sides of a hexagon": 6,
    "wheels of a bicycle": 2,
    "wheels of a car": 4,
    "colours of the rainbow": 7,
    "strings of a violin": 4,
    "letters of the alphabet": 26,
}
# key -> (a question's content in words, short answer): one-off facts
SCIENCE_LINES: dict[str, tuple[str, str]] = {
    "breathe": ("the gas that people need to breathe", "oxygen"),
    "plants_gas": ("the gas that plants take in", "carbon dioxide"),
    "light": ("where the earth gets its light from", "the sun"),
    "freeze": ("what water becomes when it freezes", "ice"),
    "boil": ("what water becomes when it boils", "steam"),
    "gravity": ("the force that pulls things down", "gravity"),
    "shadow": ("what appears when light is blocked", "a shadow"),
    "echo": ("a sound that comes back", "an echo"),
    "hardest": ("the hardest natural material", "diamond"),
    "bees": ("what bees make", "honey"),
    "hens": ("what hens lay", "eggs"),
    "cows": ("the drink that cows give", "milk"),
    "sheep": ("what sheep give for clothes", "wool"),
    "melt": ("what happens to ice in the sun", "it melts"),
    "tallest": ("the tallest animal", "the giraffe"),
    "largest": ("the largest animal", "the blue whale"),
    "fastest": ("the fastest land animal", "the cheetah"),
    "night": ("what shines in the sky at night", "the moon"),
    "sea": ("what makes sea water taste the way it does", "salt"),
    "thunder": ("what we hear after lightning", "thunder"),
}
