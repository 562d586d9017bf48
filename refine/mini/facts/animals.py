"""Animals: young, sound, legs, group, home, diet, cover."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Animal:
    """What the world knows of one animal; `None`: not part of the world."""

    young: str | None
    sound: str | None
    legs: int
    group: str
    home: str | None
    diet: str
    cover: str


# name|young|sound|legs|group|home|diet|cover
_ROWS = """
cat|kitten|meow|4|mammal|house|meat|fur
dog|puppy|woof|4|mammal|kennel|meat|fur
cow|calf|moo|4|mammal|barn|grass|hair
horse|foal|neigh|4|mammal|stable|grass|hair
sheep|lamb|baa|4|mammal|pasture|grass|wool
goat|kid|bleat|4|mammal|pasture|grass|hair
pig|piglet|oink|4|mammal|sty|plants and meat|hair
lion|cub|roar|4|mammal|savanna|meat|fur
tiger|cub|roar|4|mammal|jungle|meat|fur
bear|cub|growl|4|mammal|den|plants and meat|fur
wolf|pup|howl|4|mammal|den|meat|fur
fox|cub|bark|4|mammal|den|meat|fur
rabbit|kit|-|4|mammal|burrow|plants|fur
mouse|pup|squeak|4|mammal|hole|seeds|fur
deer|fawn|-|4|mammal|forest|plants|fur
elephant|calf|trumpet|4|mammal|savanna|plants|skin
giraffe|calf|-|4|mammal|savanna|leaves|hair
zebra|foal|-|4|mammal|savanna|grass|hair
kangaroo|joey|-|2|mammal|grassland|grass|fur
monkey|infant|chatter|2|mammal|jungle|fruit|fur
camel|calf|-|4|mammal|desert|plants|hair
whale|calf|song|0|mammal|ocean|small sea animals|skin
dolphin|calf|click|0|mammal|ocean|fish|skin
bat|pup|-|2|mammal|cave|insects|fur
hen|chick|cluck|2|bird|coop|seeds|feathers
duck|duckling|quack|2|bird|pond|plants|feathers
goose|gosling|honk|2|bird|lake|grass|feathers
owl|owlet|hoot|2|bird|tree|mice|feathers
eagle|eaglet|screech|2|bird|mountain|meat|feathers
swan|cygnet|-|2|bird|lake|plants|feathers
penguin|chick|-|2|bird|coast|fish|feathers
crow|chick|caw|2|bird|tree|seeds|feathers
pigeon|squab|coo|2|bird|city|seeds|feathers
parrot|chick|squawk|2|bird|jungle|fruit|feathers
snake|-|hiss|0|reptile|ground|mice|scales
lizard|-|-|4|reptile|rock|insects|scales
crocodile|hatchling|-|4|reptile|river|meat|scales
turtle|hatchling|-|4|reptile|sea|plants|a shell
frog|tadpole|croak|4|amphibian|pond|insects|skin
toad|tadpole|croak|4|amphibian|garden|insects|skin
salmon|fry|-|0|fish|river|small fish|scales
shark|pup|-|0|fish|ocean|fish|skin
goldfish|fry|-|0|fish|bowl|plants|scales
bee|larva|buzz|6|insect|hive|nectar|hair
ant|larva|-|6|insect|nest|seeds|a hard shell
butterfly|caterpillar|-|6|insect|meadow|nectar|scales
beetle|larva|-|6|insect|soil|plants|a hard shell
spider|spiderling|-|8|arachnid|web|insects|hair
scorpion|-|-|8|arachnid|desert|insects|a hard shell
"""


def _read(row: str) -> tuple[str, Animal]:
    name, young, sound, legs, group, home, diet, cover = row.split("|")
    return name, Animal(
        young=None if young == "-" else young,
        sound=None if sound == "-" else sound,
        legs=int(legs),
        group=group,
        home=None if home == "-" else home,
        diet=diet,
        cover=cover,
    )


ANIMALS: dict[str, Animal] = dict(_read(row) for row in _ROWS.strip().splitlines())
GROUPS = ("mammal", "bird", "reptile", "amphibian", "fish", "insect", "arachnid")
