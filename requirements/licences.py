"""The licences of the installed packages, held against requirements/licences.toml.

python requirements/licences.py            # says which package has a licence that is not allowed
python requirements/licences.py --list     # each package with its licence
python requirements/licences.py --table    # how many packages have which

It reads what the packages of the CPU lock, the model's, Ray's and QLoRA's say of themselves where
they are installed (the last two in the environment of ``make cluster``, which runs this there).
Others that are installed here (the GPU lock's own) are counted, not checked.

``pip-licenses`` (5.5, tried) would not do instead: it compares spellings ("MIT", "MIT License"),
splits no SPDX expression, and knows neither exceptions with a reason nor locks.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

RULES = Path(__file__).with_name("licences.toml")
LOCKS = tuple(RULES.with_name(name) for name in ("cpu.txt", "model.txt", "ray.txt", "qlora.txt"))
# As packages write it, in their field "License" or as a classifier, and as SPDX does.
SPDX = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psfl": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.1-or-later",
    "other/proprietary license": "proprietary",
}
_VAGUE = ("unknown", "bsd", "dual license", "lgpl", "")  # the classifiers say more
_NO_LICENCE = ("OSI Approved", "DFSG approved")


def licence_of(package: importlib.metadata.Distribution) -> str:
    """What the package says: an SPDX expression where it can be made one, else its own words; ""
    where it says nothing."""
    about = package.metadata
    if expression := about.get("License-Expression"):
        return expression
    field = (about.get("License") or "").strip()
    words = [one.split(" :: ")[-1] for one in about.get_all("Classifier") or []
             if one.startswith("License ::")]  # fmt: skip
    words = [one for one in words if one not in _NO_LICENCE]
    is_short = "\n" not in field and len(field) < 60
    if field.lower() not in _VAGUE and is_short:
        return SPDX.get(field.lower(), field)
    return " OR ".join(SPDX.get(one.lower(), one) for one in words)


def ids_in(expression: str) -> list[str]:
    """The licences that an expression names, ``Apache-2.0 WITH LLVM-exception`` as one."""
    return [one.strip(" ()") for one in re.split(r" (?:AND|OR) ", expression)]


def refusals(packages: dict[str, str], rules: dict[str, object]) -> list[str]:
    """One line for each package that may not be installed, and for each rule that nothing needs.

    Args:
        packages: licence by name, in small letters.
        rules: what licences.toml says. Every licence that an expression names must be allowed,
            also where one of two may be chosen.
    """
    allowed, named, exceptions = rules["allowed"], rules["named"], rules["exceptions"]
    assert isinstance(allowed, list)
    assert isinstance(named, dict)
    assert isinstance(exceptions, dict)
    lines = []
    for name, said in sorted(packages.items()):
        licence = said or named.get(name, "")
        right = bool(licence) and all(one in allowed for one in ids_in(licence))
        if not right and name not in exceptions:
            lines.append(f"{name}: {licence or 'it names no licence'}")
        if right and name in exceptions:
            lines.append(f"{name}: {licence} is allowed, it needs no exception")
        if said and name in named:
            lines.append(f"{name}: it names {said} itself, licences.toml need not")
    return lines


def locked() -> set[str]:
    """The names of the packages in the locks."""
    lines = "\n".join(path.read_text(encoding="utf-8") for path in LOCKS)
    return set(re.findall(r"^([\w.-]+)==", lines, re.MULTILINE))


def main(arguments: list[str]) -> int:
    rules = tomllib.loads(RULES.read_text(encoding="utf-8"))
    installed = {
        re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): licence_of(one)
        for one in importlib.metadata.distributions()
    }
    names = locked()
    packages = {name: said for name, said in installed.items() if name in names}
    whole = {name: said or rules["named"].get(name, "?") for name, said in packages.items()}
    if arguments == ["--list"]:
        print("\n".join(f"{name:<36} {whole[name]}" for name in sorted(whole)))
        return 0
    if arguments == ["--table"]:
        counts = Counter(whole.values()).most_common()
        print("| licence | packages |\n| --- | --- |")
        print("\n".join(f"| {licence} | {n} |" for licence, n in counts))
        return 0
    if arguments:
        print(f"no such option: {' '.join(arguments)}; there are --list and --table")
        return 2
    lines = refusals(packages, rules)
    for line in lines:
        print(line)
    if lines:
        print(f"Read the licence, then choose another package or add a line to {RULES.name}.")
        return 1
    print(f"Licences: {len(packages)} packages, {len(rules['exceptions'])} by exception; "
          f"{len(installed) - len(packages)} of no lock not checked.")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
