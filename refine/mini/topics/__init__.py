"""The topics of pawl-mini's world: for each, the relations between its facts and their phrasings."""

from refine.mini.relations import Relation
from refine.mini.topics import (
    animals,
    arithmetic,
    calendar,
    capitals,
    colours,
    language,
    manners,
    planets,
    science,
    sequences,
    units,
)

RELATIONS: tuple[Relation, ...] = (
    *capitals.RELATIONS,
    *arithmetic.RELATIONS,
    *animals.RELATIONS,
    *language.RELATIONS,
    *calendar.RELATIONS,
    *units.RELATIONS,
    *colours.RELATIONS,
    *planets.RELATIONS,
    *science.RELATIONS,
    *sequences.RELATIONS,
    *manners.RELATIONS,
)
BY_NAME: dict[str, Relation] = {relation.name: relation for relation in RELATIONS}
