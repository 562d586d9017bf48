"""The text of a PDF, in a process of its own.

    python -P -m serve.pages.pdf_text <FILE    # {"pages": [text, ...]} or {"is_protected": true}

A file from outside can make its reader take any time and memory; here both are bounded.
"""

from __future__ import annotations

import io
import json
import resource
import sys

MOST_SECONDS, MOST_BYTES = 20, 1 << 30  # of processor time, of memory


def main(most_characters: int) -> None:
    """Reads stdin. No more pages are read once there are more than ``most_characters``."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    from pypdf import PasswordType, PdfReader

    reader = PdfReader(io.BytesIO(sys.stdin.buffer.read()))
    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        print(json.dumps({"is_protected": True}))
        return
    pages: list[str] = []
    n_characters = 0
    for page in reader.pages:
        pages.append(page.extract_text().strip())
        n_characters += len(pages[-1])
        if n_characters > most_characters:
            break
    print(json.dumps({"pages": pages}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
