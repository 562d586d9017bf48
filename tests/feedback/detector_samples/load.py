"""Labelled samples of the detectors: ``NAME.jsonl``, one ``{"label", "prompt", "text"}`` a line.

Half of each file's lines hold what the detector looks for, the others look like it and don't. They
were written before the detectors; those were mended after their mistakes on all lines were seen.
Braces stand for values that are made here, so that no file of the repository holds a key, an
account or a card number: ``{ghp}``, ``{iban:DE}``; ``{f3}`` is line 3 of ``fillers.txt``.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from feedback.detectors.answer import Answer

FOLDER = Path(__file__).parent
LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Sample:
    label: bool
    answer: Answer
    is_odd: bool  # of the odd half: shows whether the halves differ


def samples(name: str) -> list[Sample]:
    """The samples of a detector, by its name."""
    lines = (FOLDER / f"{name}.jsonl").read_text("utf-8").split("\n")
    return [_sample(number, line) for number, line in enumerate(filter(None, lines), 1)]


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def _sample(number: int, line: str) -> Sample:
    value = json.loads(line)
    text = "".join(_filled(value["text"], random.Random(number)))
    return Sample(value["label"], Answer(text, value.get("prompt", "")), number % 2 == 1)


def _filled(text: str, draw: random.Random) -> Iterator[str]:
    for part in re.split(r"(\{[a-z_]+\d*(?::\w+)?\})", text):
        name, _, argument = part.strip("{}").partition(":")
        if not part.startswith("{") or (name not in MADE and not re.fullmatch(r"f\d+", name)):
            yield part
        elif name in MADE:
            yield MADE[name](draw, argument)
        else:
            yield _fillers()[int(name[1:]) - 1]


def _fillers() -> list[str]:
    return (FOLDER / "fillers.txt").read_text("utf-8").splitlines()


def _of(draw: random.Random, n: int, letters: str = LETTERS) -> str:
    return "".join(draw.choice(letters) for _ in range(n))


def _digits(draw: random.Random, n: int) -> str:
    return _of(draw, n, string.digits)


def _card(draw: random.Random, prefix: str) -> str:
    from stdnum import luhn

    prefix = re.sub(r"\D", "", prefix)
    head = prefix + _digits(draw, (14 if prefix.startswith("3") else 15) - len(prefix))
    number = head + str(luhn.calc_check_digit(head))
    if prefix.startswith("3"):
        return number
    return draw.choice([" ", "", "-"]).join(number[i : i + 4] for i in range(0, 16, 4))


def _iban(draw: random.Random, country: str) -> str:
    bban = {
        "DE": _digits(draw, 18), "GB": "WEST" + _digits(draw, 14),
        "FR": _digits(draw, 23), "NL": "ABNA" + _digits(draw, 10),
    }[country]  # fmt: skip
    as_number = "".join(str(int(char, 36)) for char in f"{bban}{country}00")
    number = f"{country}{98 - int(as_number) % 97:02d}{bban}"
    step = draw.choice([4, 40])
    return " ".join(number[i : i + step] for i in range(0, len(number), step))


def _dni(draw: random.Random, head: str = "") -> str:
    digits = _digits(draw, 7 if head else 8)
    letter = "TRWAGMYFPDXBNJZSQVHLCKE"[int(f"{'XYZ'.index(head)}{digits}" if head else digits) % 23]
    return f"{head}{digits}{letter}"


def _codice_fiscale(draw: random.Random, _: str) -> str:
    from stdnum.it import codicefiscale

    head = f"{_of(draw, 6, 'BCDFGLMNPRST')}{draw.randrange(50, 99)}A{draw.randrange(10, 29)}H501"
    return head + str(codicefiscale.calc_check_digit(head))


def _cpf(draw: random.Random, _: str) -> str:
    digits = [int(d) for d in _digits(draw, 9)]
    for _n in range(2):
        total = sum((len(digits) + 1 - i) * d for i, d in enumerate(digits))
        digits.append(total * 10 % 11 % 10)
    n = "".join(map(str, digits))
    return f"{n[:3]}.{n[3:6]}.{n[6:9]}-{n[9:]}"


def _nir(draw: random.Random, _: str) -> str:
    head = f"2{draw.randrange(50, 99)}0575{draw.randrange(100, 999)}{draw.randrange(100, 999)}"
    return f"{head}{97 - int(head) % 97:02d}"


def _base64url(value: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _jwt(draw: random.Random, _: str) -> str:
    head = _base64url({"alg": "HS256", "typ": "JWT"})
    return f"{head}.{_base64url({'sub': _digits(draw, 9)})}.{_of(draw, 43)}"


MADE: dict[str, Callable[[random.Random, str], str]] = {
    "card": _card,
    "iban": _iban,
    "dni": lambda draw, _: _dni(draw),
    "nie": lambda draw, _: _dni(draw, "Y"),
    "cf": _codice_fiscale,
    "cpf": _cpf,
    "nir": _nir,
    "jwt": _jwt,
    "aws": lambda draw, _: "AKIA" + _of(draw, 16, string.ascii_uppercase + string.digits),
    "aws_secret": lambda draw, _: _of(draw, 40),
    "ghp": lambda draw, _: "ghp_" + _of(draw, 36),
    "glpat": lambda draw, _: "glpat-" + _of(draw, 20),
    "npm": lambda draw, _: "npm_" + _of(draw, 36),
    "pypi": lambda draw, _: "pypi-AgEIcHlwaS5vcmc" + _of(draw, 90),
    "slack": lambda draw, _: f"xoxb-{_digits(draw, 12)}-{_digits(draw, 12)}-{_of(draw, 24)}",
    "slackhook": lambda draw, _: f"T{_of(draw, 8)}/B{_of(draw, 8)}/{_of(draw, 24)}",
    "stripe": lambda draw, _: "sk_" + "live_" + _of(draw, 24),
    "openai": lambda draw, _: f"sk-proj-{_of(draw, 20)}T3BlbkFJ{_of(draw, 20)}",
    "anthropic": lambda draw, _: "sk-ant-api03-" + _of(draw, 80),
    "hf": lambda draw, _: "hf_" + _of(draw, 34),
    "google": lambda draw, _: "AIza" + _of(draw, 35),
    "sendgrid": lambda draw, _: f"SG.{_of(draw, 22)}.{_of(draw, 43)}",
    "telegram": lambda draw, _: f"{draw.randrange(1, 9)}{_digits(draw, 9)}:AA{_of(draw, 33)}",
    "twilio_sid": lambda draw, _: "AC" + _of(draw, 32, "0123456789abcdef"),
    "azure": lambda draw, _: _of(draw, 86) + "==",
    "hex32": lambda draw, _: _of(draw, 32, "0123456789abcdef"),
    "hex40": lambda draw, _: _of(draw, 40, "0123456789abcdef"),
    "b64": lambda draw, _: _of(draw, 43) + "=",
    "pem": lambda draw, _: _of(draw, 64),
    "password": lambda draw, _: draw.choice(
        [_of(draw, 8) + "#" + _digits(draw, 2), _of(draw, 5, string.ascii_lowercase)
         + "-" + _of(draw, 4, string.ascii_lowercase) + _digits(draw, 3) + "!", _of(draw, 12)]
    ),
}  # fmt: skip
