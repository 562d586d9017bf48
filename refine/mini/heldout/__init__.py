"""The questions that pawl-mini is judged by. Written apart from the text that it is trained on.

The training text is made by the other modules of `refine.mini`; nothing here imports their
phrasings and nothing there may import these. Shared are the fact tables alone.

- `phrases_*`: how people ask, by relation (`capital_of`, `young_of` ...).
- `claim`, `claims`, `claims_*`: which facts are asked, each with its right answer and wrong ones of
  the same kind; `exclusions`: what would make that unfair.
- `talk`: greetings, remembering, questions outside of the world; `misconceptions`.
- `families`: the chat questions of `evals/mini/unseen_families.jsonl`.
- `benchmarks`: the four sets in the schemas of ARC, HellaSwag, MMLU and TruthfulQA.
- `build`: writes the files: `python -m refine.mini.heldout.build`.
"""
