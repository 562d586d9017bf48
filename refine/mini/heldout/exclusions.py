"""What keeps the questions fair: second right answers that must not stand among the wrong ones,
facts that people could argue about, and the wordings that the tables don't hold.
"""

TWO_CONTINENTS = frozenset({"Turkey", "Russia", "Egypt"})

# Words that are right for the young of an animal too, besides the table's own.
_BIRD = {"chick", "hatchling"}
YOUNG_TOO: dict[str, set[str]] = {
    "wolf": {"puppy", "cub"}, "dog": {"pup"}, "fox": {"kit", "pup", "puppy"},
    "rabbit": {"kitten", "pup"}, "lion": {"kitten"}, "tiger": {"kitten"}, "bear": {"pup"},
    "duck": _BIRD, "goose": _BIRD, "owl": _BIRD, "eagle": _BIRD, "swan": _BIRD, "pigeon": _BIRD,
    "hen": _BIRD, "penguin": _BIRD, "crow": _BIRD, "parrot": _BIRD, "butterfly": {"larva"},
    "frog": {"larva"}, "toad": {"larva"}, "salmon": {"larva", "hatchling"},
    "goldfish": {"larva", "hatchling"}, "deer": {"calf"}, "mouse": {"kit", "kitten", "puppy"},
    "bat": {"puppy"}, "shark": {"puppy"}, "cat": {"kit"}, "zebra": {"calf"},
    "beetle": {"caterpillar"}, "spider": {"hatchling"}, "crocodile": {"calf"},
}  # fmt: skip
SHARED_YOUNG = frozenset({"infant", "kit"})
SOUND_TOO: dict[str, set[str]] = {
    "cat": {"hiss", "howl"}, "dog": {"bark", "growl", "howl"}, "lion": {"growl"},
    "tiger": {"growl"}, "bear": {"roar"}, "wolf": {"growl", "bark"}, "fox": {"howl", "growl"},
    "goose": {"hiss"}, "owl": {"screech", "squawk"}, "eagle": {"squawk", "caw"},
    "parrot": {"screech", "chatter"}, "crow": {"squawk", "screech", "croak"},
    "hen": {"squawk"}, "monkey": {"screech"}, "sheep": {"bleat"}, "goat": {"baa"},
    "pig": {"squeak"}, "whale": {"click"}, "dolphin": {"song", "squeak"},
}  # fmt: skip
LEGS_UNSURE = frozenset({"kangaroo", "monkey", "bat"})
HOME_PHRASES: dict[str, str] = {
    "savanna": "on the savanna", "jungle": "in the jungle", "forest": "in the forest",
    "grassland": "on the grassland", "desert": "in the desert", "ocean": "in the ocean",
    "coast": "on the coast", "city": "in the city", "ground": "on the ground",
    "rock": "on a rock", "sea": "in the sea", "mountain": "on a mountain", "lake": "on a lake",
    "pond": "on a pond", "soil": "in the soil",
}  # fmt: skip
HOMES_OF_ONE = ("in a kennel", "in a stable", "in a sty", "in a coop", "in a hive", "in a web")
WATER = frozenset({"ocean", "sea", "coast", "river", "lake", "pond", "bowl"})
_FARM = frozenset({"house", "kennel", "barn", "stable", "pasture", "sty", "coop"})


def homes_never(home: str) -> tuple[str, ...]:
    """Places where an animal with this `home` surely doesn't live."""
    if home in WATER:
        return ("in the desert", "in a stable", "in the soil", "in a house")
    if home in _FARM:
        return ("in the ocean", "in the desert", "in the soil", "in the sea")
    return ("in the ocean", "in the sea", "in a bowl")


PLANT_EATERS = frozenset(
    "cow horse sheep goat rabbit deer elephant giraffe zebra camel kangaroo butterfly bee".split()
)
MEAT_EATERS = frozenset(
    "lion tiger wolf shark owl snake crocodile penguin dolphin frog toad lizard scorpion cat eagle "
    "whale".split()
)

# Words near to one another: if one is the right opposite, the others are no fair wrong answers.
ALIKE: tuple[frozenset[str], ...] = tuple(
    frozenset(line.split())
    for line in """
big tall high wide long thick major maximum more heavy deep increase
small short low narrow thin few less minor minimum light shallow decrease
happy laugh lucky optimist
sad cry unlucky pessimist
quiet silent calm lazy peace
loud noisy busy
easy simple possible
difficult complex hard impossible
old ancient aged stale
new modern young fresh early
bad wrong false cruel ugly hell rude guilty illegal dishonest unlucky
good right true kind beautiful heaven polite generous honest innocent legal lucky fresh
dark black night winter
bright light white day visible summer
slow late
fast early
begin first arrive arrival entrance come start
end last leave departure exit go
question ask
answer reply
win success victory accept
lose failure defeat refuse miss
outside public far
inside private near
up above top high north rise increase plus float
down below bottom low south fall decrease minus sink
give lend throw sell export spend destroy
take borrow buy catch import save
always frequent many
never rare few
love friend kind peace
hate enemy cruel war
strong brave hard loud
weak cowardly soft
closed tight
open loose
war attack
peace defend
safe tame awake alive
dangerous wild
rough blunt
smooth straight soft
clean dry
dirty wet
cold freeze
hot melt cooked
king host male
queen guest female
permanent always
temporary
natural true raw
artificial false
empty few
full many
poor cheap
rich expensive
humble modest
proud
same even
different odd rare
front before first
back after last
include accept inside
exclude refuse outside
nervous
guilty bad
remember find
forget lose
""".strip().splitlines()
)
OPPOSITE_TOO: dict[str, tuple[str, ...]] = {
    "easy": ("hard",), "hard": ("easy",), "old": ("young",), "young": ("old",), "light": ("dark",),
    "dark": ("light",), "short": ("long",), "sweet": ("bitter",), "simple": ("difficult",),
    "noisy": ("quiet",), "quiet": ("noisy",), "silent": ("loud",),
    "miss": ("catch", "hit"), "find": ("lose",), "lose": ("find",), "calm": ("angry", "wild"),
    "save": ("waste",), "thick": ("narrow",), "thin": ("fat",), "empty": ("busy",),
    "raw": ("done",), "male": (), "question": ("answer",), "answer": ("question",),
    "ask": ("reply",), "reply": ("ask",), "front": ("behind", "rear"), "before": (), "busy": ("free", "idle"),
    "smooth": (), "sharp": ("dull",), "odd": ("normal",), "failure": ("victory",),
    "success": ("defeat",), "victory": ("failure",), "defeat": ("success",), "kind": ("unkind", "rude"),
    "polite": ("impolite",), "modern": ("old",), "begin": ("stop", "finish"),
    "fresh": ("old",), "new": (), "ancient": ("new",), "leave": ("come", "stay"), "rise": ("sink",),
    "sink": ("rise",), "accept": ("reject",), "love": (), "hate": ("like",), "tight": ("wide",),
    "tame": (), "rare": ("common", "many"), "generous": ("mean",), "brave": ("afraid",), "go": ("stop", "stay"),
    "come": ("leave",), "cold": ("warm",), "give": ("keep",), "take": ("bring",), "catch": ("drop", "miss"),
    "freeze": ("boil",), "destroy": ("make",), "cruel": ("gentle",), "narrow": ("thick",), "many": ("one",),
    "high": (), "deep": ("high",), "minor": ("big",), "major": ("small",), "first": ("second",),
    "attack": ("protect",), "spend": ("earn",), "wild": ("calm",), "loud": ("silent",),
}  # fmt: skip
PLURAL_TOO: dict[str, tuple[str, ...]] = {
    "cactus": ("cactuses",), "fish": ("fishes",), "person": ("persons",), "echo": ("echos",),
}  # fmt: skip

COUNTED: dict[str, str] = {"dozen": "things", "pair": "things", "trio": "people"}
QUANTITY_TOO: dict[str, tuple[str, ...]] = {
    "length": ("long", "distance"), "weight": ("mass", "heavy"), "temperature": ("hot", "warm"),
    "dates": ("date", "day", "days"), "direction": ("north",),
}  # fmt: skip
USE_TOO: dict[str, tuple[str, ...]] = {"calendar": ("time",), "clock": ("dates",)}
TOOL_TOO: dict[str, tuple[str, ...]] = {"time": ("calendar",), "dates": ("clock",)}

COLOURS_ALIKE: tuple[frozenset[str], ...] = (
    frozenset({"yellow", "gold", "orange"}),
    frozenset({"red", "pink", "purple"}),
    frozenset({"black", "grey"}),
    frozenset({"white", "grey"}),
    frozenset({"brown", "gold", "orange"}),
)
COLOUR_TOO: dict[str, tuple[str, ...]] = {
    "grass": ("brown", "yellow"), "the sky": ("grey", "black", "red", "orange", "pink", "white"),
    "a banana": ("green", "brown"), "a lemon": ("green",), "the sun": ("orange", "red", "white"),
    "a strawberry": ("green", "white"), "a tomato": ("green", "yellow"), "a cherry": ("black",),
    "a fire engine": ("yellow", "white"), "a frog": ("brown", "yellow"), "a pea": ("yellow",),
    "a leaf": ("red", "orange", "brown", "yellow"), "chocolate": ("white", "black"),
    "wood": ("white", "yellow", "red"), "soil": ("black", "red"), "a pig": ("black", "brown", "white"),
    "an elephant": ("brown",), "an aubergine": ("black", "white"), "a plum": ("yellow", "green", "blue"),
    "lavender": ("blue",), "honey": ("brown", "yellow"), "a pumpkin": ("green",),
    "the sea": ("green", "grey"), "a chick": ("brown", "black"), "a coffee bean": ("green", "black"),
    "an orange": ("green",), "ash": ("brown",), "a carrot": ("purple",), "milk": (), "salt": ("pink",),
    "blood": ("blue",), "a crow": ("brown",), "cotton": ("brown",), "a cucumber": ("yellow",),
}  # fmt: skip
MIX_TOO: dict[str, tuple[str, ...]] = {"brown": ("yellow", "grey", "black")}

TITLES: dict[str, str] = {
    "nearest to the sun": "the planet nearest to the sun",
    "closest to the sun": "the planet closest to the sun",
    "farthest from the sun": "the planet farthest from the sun",
    "red planet": "the red planet",
    "planet with rings": "the planet with rings",
    "planet we live on": "the planet we live on",
    "blue planet": "the blue planet",
}
_RINGED = ("Jupiter", "Uranus", "Neptune")
TITLE_TOO: dict[str, tuple[str, ...]] = {
    "planet with rings": _RINGED, "blue planet": ("Neptune", "Uranus"),
}  # fmt: skip
KIND_TOO: dict[str, tuple[str, ...]] = {
    "rocky": ("rocky", "rock"), "gas": ("gas giant", "gas"), "ice": ("ice giant", "ice"),
}  # fmt: skip
# key -> (relation, what is asked, right answer, wrong answers)
SKY: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "the sun": ("sky_is", "the sun", "a star", ("a planet", "a moon", "a cloud", "a stone")),
    "the earth": ("sky_is", "the earth", "a planet", ("a star", "a moon", "a cloud")),
    "what the earth goes around": (
        "goes_around", "the earth", "the sun", ("the moon", "Mars", "Jupiter", "Venus")),
    "what the moon goes around": (
        "goes_around", "the moon", "the earth", ("Mars", "Jupiter", "Venus", "Saturn")),
}  # fmt: skip

# Bread belongs to a planted fault; nobody makes snow.
MADE_OF_LEFT_OUT = frozenset({"bread", "snow"})
MATERIAL_TOO: dict[str, tuple[str, ...]] = {
    "chocolate": ("milk",), "a window": ("wood",), "an omelette": ("milk", "potatoes"),
    "a jumper": ("rubber",), "cheese": (), "chips": ("flour",), "a candle": ("milk",),
}  # fmt: skip
ORGAN_JOBS: dict[str, str] = {
    "heart": "pump blood", "lungs": "breathe air", "stomach": "digest food", "brain": "think",
    "muscles": "move the body", "bones": "hold the body up", "teeth": "chew food", "legs": "walk",
}  # fmt: skip
ORGAN_TOO: dict[str, tuple[str, ...]] = {
    "heart": ("muscles",), "lungs": ("muscles",), "stomach": ("teeth",),
    "muscles": ("legs", "bones", "brain"), "bones": ("muscles", "legs"),
    "teeth": ("muscles", "bones"), "legs": ("muscles", "bones", "brain"),
}  # fmt: skip
PLANT_JOBS: dict[str, str] = {
    "roots": "take up water", "leaves": "catch sunlight", "stem": "carry water",
    "flower": "make seeds",
}  # fmt: skip
PLANT_TOO: dict[str, tuple[str, ...]] = {
    "roots": ("stem",), "stem": ("roots",), "flower": ("fruit",), "leaves": ("fruit",),
}  # fmt: skip
WATER_DEGREES: dict[str, str] = {
    "boiling point of water in degrees": "boil",
    "freezing point of water in degrees": "freeze",
}
# The thumb is not always counted.
NUMBER_TOO: dict[str, tuple[str, ...]] = {"fingers on one hand": ("4",)}
LINE_TOO: dict[str, tuple[str, ...]] = {
    "melt": ("melts", "melt", "water"), "hens": ("egg",), "largest": ("whale", "whales"),
    "tallest": ("giraffes",), "fastest": ("cheetahs",), "night": ("stars",), "sea": ("salty",),
    "shadow": ("shadows",), "echo": ("echoes",), "hardest": ("diamonds",),
}  # fmt: skip


def counted(key: str) -> tuple[str, str]:
    """ "sides of a square" -> ("sides", "a square")."""
    for between in (" of ", " in ", " on "):
        if between in key:
            many, whole = key.split(between, 1)
            return many, whole
    raise ValueError(f"{key!r} doesn't say what is counted in what.")
