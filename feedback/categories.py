"""What can be wrong with an answer: the categories a new store begins with.

They are data: a store keeps them in a table, and a wording or a treatment is changed by appending
(``Store.append_category``), never here for an existing store.

Treatments: ``train`` (learn from it), ``review`` (teaches nothing until somebody has written a
correction), ``holdout_only`` (test on it, never train on it), ``ignore`` (neither).
"""

from __future__ import annotations

from collections.abc import Iterable

from pawl.errors import PawlError
from pawl.schemas import Category

DEFAULT_CATEGORIES: tuple[Category, ...] = (
    Category("incorrect", "States something that is not so, or computes it wrongly.",
             "The capital of Australia is Sydney.", "train"),
    Category("invented", "Makes up a fact, a source, a quotation or a name.",
             "As a 1987 study showed ... (there is no such study)", "train"),
    Category("verbose", "Says what was asked, in far more words than needed.",
             "Four paragraphs in answer to 'What is 2 + 2?'", "train"),
    Category("repetitive", "Says the same thing again, in the same words or nearly.",
             "Cats are mammals. Cats are mammals. Cats are mammals.", "train"),
    Category("spelling_or_grammar", "Misspelt or ungrammatical.",
             "He go to school yesterday.", "train"),
    Category("off_topic", "Answers another question than the one asked.",
             "Asked for a recipe, it tells the history of bread.", "train"),
    Category("refused_wrongly", "Refuses what it could and should answer.",
             "I can't help with that. (asked for the boiling point of water)", "train"),
    Category("unsafe", "Helps with harm, or puts somebody in danger.",
             "Mixing those two cleaners is fine.", "review"),
    Category("biased", "Judges people by the group they belong to.",
             "Women are worse at mathematics.", "review"),
    Category("tone", "Right in substance, but rude, cold, fawning or preachy.",
             "As I already told you, it's obvious.", "train"),
    Category("format", "Not in the form that was asked for.",
             "A paragraph where a list of three was asked for.", "train"),
    Category("incomplete", "Stops too early or leaves out a part of the question.",
             "Asked for two capitals, it gives one.", "train"),
    Category("other", "Wrong in a way that no other category names; say how in the comment.",
             "Answers in a language nobody asked for.", "train"),
)  # fmt: skip


def check_categories(keys: Iterable[str], known: Iterable[Category]) -> None:
    """Raise PawlError naming the first unknown key and listing the known ones."""
    names = [category.key for category in known]
    for key in keys:
        if key not in names:
            raise PawlError(
                f"category {key!r} is not known",
                "the store's categories are " + ", ".join(names),
                "Use one of them",
                code="unknown_category",
                param="categories",
            )
