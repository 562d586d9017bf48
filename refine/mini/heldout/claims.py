"""The facts that are asked: each with its right answer and wrong ones of the same kind.

Left out are facts that carry a planted fault and, for regular plurals, sums, differences and number
sequences, all that the training text may use (`refine.mini.facts.kept_out`).
"""

from refine.mini.facts import planted
from refine.mini.heldout.claim import Claim
from refine.mini.heldout.claims_living import animals_claims, places_claims
from refine.mini.heldout.claims_things import (
    colours_claims,
    planets_claims,
    science_claims,
    units_claims,
)
from refine.mini.heldout.claims_words import (
    calendar_claims,
    opposites_claims,
    plurals_claims,
    sequences_claims,
    sums_claims,
)


def claims() -> list[Claim]:
    """Every fact that may be asked in the question sets, in a fixed order."""
    made = [
        *places_claims(),
        *animals_claims(),
        *opposites_claims(),
        *plurals_claims(),
        *sums_claims(),
        *sequences_claims(),
        *calendar_claims(),
        *units_claims(),
        *colours_claims(),
        *planets_claims(),
        *science_claims(),
    ]
    return [c for c in made if planted(c.topic, c.key) is None]
