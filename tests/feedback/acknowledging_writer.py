"""Child of test_durability: writes from several threads and says on stdout what was acknowledged.

    python acknowledging_writer.py DATABASE FIRST_NUMBER

One line for each acknowledged row: ``c <completion_id>`` or ``f <idempotency_key>``. Lines are
written with one ``write`` call each, so that a kill can't mix them.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from feedback.store import Store
from tests.feedback.examples import make_completion, make_feedback


def main(path: Path, first: int) -> None:
    store = Store.open(path)

    def work(thread: int) -> None:
        number = first + thread
        while True:
            completion_id = f"chatcmpl-{number}"
            # Long enough that the WAL is folded into the file several times during a test.
            store.append_completion(
                make_completion(completion_id=completion_id, completion=os.urandom(6000).hex())
            ).result()
            os.write(1, f"c {completion_id}\n".encode())
            store.append_feedback(
                make_feedback(
                    completion_id, feedback_id=f"fb-{number}", idempotency_key=f"k-{number}"
                )
            ).result()
            os.write(1, f"f k-{number}\n".encode())
            number += 8

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
