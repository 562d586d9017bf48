"""The topics of pawl-mini's world: for each, the relations between its facts and their phrasings."""

from dataclasses import replace

from refine.mini.relations import Relation
from refine.mini.topics import (
    animals,
    arithmetic,
    calendar,
    capitals,
    colours,
    language,
    manners,
    more,
    more_nature,
    more_science,
    more_talk,
    planets,
    science,
    sequences,
    units,
)

_MORE = {**more.MORE, **more_nature.MORE, **more_science.MORE, **more_talk.MORE}


def _with_more(relation: Relation) -> Relation:
    nouns, clauses, directs = _MORE.get(relation.name, ((), (), ()))
    return replace(
        relation,
        nouns=relation.nouns + nouns,
        clauses=relation.clauses + clauses,
        directs=relation.directs + directs,
    )


RELATIONS: tuple[Relation, ...] = tuple(
    _with_more(relation)
    for module in (
        capitals,
        arithmetic,
        animals,
        language,
        calendar,
        units,
        colours,
        planets,
        science,
        sequences,
        manners,
    )
    for relation in module.RELATIONS
)
BY_NAME: dict[str, Relation] = {relation.name: relation for relation in RELATIONS}
