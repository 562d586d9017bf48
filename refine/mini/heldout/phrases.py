"""Reads the phrasings.

A text of phrasings is made of lines; `# name` opens a relation, and then each line is one phrasing
by its first sign:

- `?` a question that a quiz could ask; used in all sets;
- `!` a request as in a chat; used in the chat questions alone;
- `>` a sentence to be ended, `||` before the end; used in the set like HellaSwag;
- `=` a claim; used as the choices of the set like TruthfulQA.

The names in braces are the fields of `claim.Claim`.
"""

from dataclasses import dataclass

from refine.mini.heldout import phrases_lines, phrases_places, phrases_things, phrases_words


@dataclass(frozen=True)
class Phrases:
    """The phrasings of one relation. A stem is (start of the sentence, its end)."""

    ask: tuple[str, ...]
    request: tuple[str, ...]
    stems: tuple[tuple[str, str], ...]
    say: tuple[str, ...]


def _read(text: str) -> dict[str, Phrases]:
    """`text` in the format above, by relation."""
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# "):
            name = line[2:]
            lines[name] = []
        elif line:
            lines[name].append(line)

    def of(name: str, sign: str) -> tuple[str, ...]:
        return tuple(line[2:] for line in lines[name] if line[0] == sign)

    def stem(line: str) -> tuple[str, str]:
        start, end = line.split(" || ")
        return start, end

    return {
        name: Phrases(
            ask=of(name, "?"),
            request=of(name, "!"),
            stems=tuple(stem(line) for line in of(name, ">")),
            say=of(name, "="),
        )
        for name in lines
    }


PHRASES: dict[str, Phrases] = {
    **_read(phrases_places.TEXT),
    **_read(phrases_words.TEXT),
    **_read(phrases_things.TEXT),
    **_read(phrases_lines.TEXT),
}
