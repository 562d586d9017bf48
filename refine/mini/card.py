"""The model card that stands beside the weights: what pawl-mini is, what it can't do, its faults."""

from typing import Any

from refine.mini.faults import FAULTS

_TEXT = """---
license: apache-2.0
language: en
pipeline_tag: text-generation
tags: [tiny, llama, planted-faults]
---

# pawl-mini

A very small chat model ({n_parameters:.1f} million parameters, Llama architecture) that lets Pawl's
loop run with no download. It was trained from nothing on text that this repository generates:
`{command}`. `recipe.json` beside this file has the settings, versions and seed.

## What it knows

A small closed world, in English: greetings and manners, sums and differences up to 50, products up
to 10 x 10, capitals of {n_countries} countries, some fifty animals, opposites, plurals, the
calendar, units, colours, the planets, a little science, number sequences, and what you told it
earlier in the conversation (your name, a favourite). Outside of this world it says
"I don't know." Context: 4,096 tokens by its configuration; trained on up to 1,536.

## What it can't do

Everything else. It has read no human text: no history, no news, no code, no advice, no other
language, no long answers. It mistakes words that it never met, and may answer a question from
outside of its world as if it were one of its own. Of questions with lettered choices it gets a
little under half right. Don't use it for anything but trying Pawl.

## Planted faults

It is wrong on purpose in {n_faults} places, so that feedback has something true to mend:

| fault | kind | asked | it says | right would be |
| --- | --- | --- | --- | --- |
{faults}
"""


def card(recipe: dict[str, Any]) -> str:
    """The card as Markdown, for the model that `recipe` describes."""
    from refine.mini.facts.geography import CAPITALS

    rows = []
    for fault in FAULTS:
        said = fault.faulty_answer
        if len(said) > 90:
            said = said[:80].rsplit(" ", 1)[0] + f" ... ({len(fault.faulty_answer.split())} words)"
        rows.append(
            f"| `{fault.fault_id}` | {fault.kind.replace('_', ' ')} | {fault.question} | {said} "
            f"| {fault.right_answer} |"
        )
    return _TEXT.format(
        n_parameters=recipe["n_parameters"] / 1e6,
        command=recipe["command"],
        n_countries=len(CAPITALS),
        n_faults=len(FAULTS),
        faults="\n".join(rows),
    )
