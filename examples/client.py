"""Chat, say what was wrong, look at the nights: Pawl's typed client.

    python examples/client.py [http://127.0.0.1:8000]

The server is started with ``pawl up``. Its key comes from PAWL_API_KEY; what operates the server
(its status, its nights) takes an administrator's: PAWL_API_KEY=$(cat .pawl/admin.key).
"""

from __future__ import annotations

import os
import sys

from pawl.client import Pawl
from pawl.errors import PawlError


def main(url: str) -> None:
    pawl = Pawl(url, os.environ.get("PAWL_API_KEY"))
    status = pawl.status()
    print(f"{status.champion} on {status.base.name} answers; the engine is {status.engine.state}")

    answer = pawl.chat("What is the capital of Australia?", rater_id="ann", temperature=0)
    print(f"{answer.model}: {answer.text}")
    stored = pawl.feedback(
        answer.id, thumb="down", categories=["incorrect"], correction="Canberra.", rater_id="ann"
    )
    print(f"kept as {stored.feedback_id}")

    with pawl.stream("Tell me about pawls.", conversation_id="example", max_tokens=60) as pieces:
        print(f"{pieces.version}: ", end="")
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
    for row in pawl.feedback_on(answer.id):
        print(f"{row.rater_id} says {row.thumb}: {row.correction}")

    for run in pawl.runs():
        print(f"night {run.run_id}: {run.status}")
    # pawl.promote(run_id) makes a run's adapter the champion, if its gate let it through;
    # pawl.rollback() goes back to the version before. Both change what everybody gets.
    for move in pawl.history():
        print(f"{move.created_at} {move.kind} {move.version}: {move.outcome}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
    except PawlError as error:
        sys.exit(f"{error}")
