"""Writes train.jsonl and test.jsonl of hand-written parts: python examples/extraction/write.py

Each message of ``parts.yaml`` is used some times, with other names, numbers, days, times and seats.
None of the test's is used in training, and neither are the test's names.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TIMES_USED = {"train": 5, "test": 5}


def rows(part: str, parts: dict[str, Any], draw: random.Random) -> list[dict[str, str]]:
    """The rows of ``train`` or ``test``."""
    found = []
    for skeleton in parts[part] * TIMES_USED[part]:
        day, name = draw.choice(parts["days"]), draw.choice(parts["names"][part])
        people, time, place = (
            draw.choice(list(parts[key])) for key in ("people", "times", "places")
        )
        text = skeleton.format(
            people=draw.choice(parts["people"][people]),
            day=day,
            time=draw.choice(parts["times"][time]),
            place=draw.choice(parts["places"][place]),
            name=name,
        )
        record = {"name": name, "people": people, "day": day, "time": time, "place": place}
        found.append({"text": " ".join(text.split()), "answer": json.dumps(record)})
    draw.shuffle(found)
    return found


def main() -> None:
    parts = yaml.safe_load((HERE / "parts.yaml").read_text("utf-8"))
    draw = random.Random(0)
    for part in TIMES_USED:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows(part, parts, draw)]
        (HERE / f"{part}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main()
