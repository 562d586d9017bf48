"""The topics of pawl-mini's world: for each, the relations between its facts and their phrasings."""

from refine.mini.relations import Relation
from refine.mini.topics import capitals

RELATIONS: tuple[Relation, ...] = (*capitals.RELATIONS,)
