"""What the engine complains of, in the words and codes that clients know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pawl.errors import PawlError
from serve.api.errors import error_response, refusal, status_of


def complaint(status: int, message: str, **more: Any) -> PawlError:
    body = {"error": {"message": message, "type": "x", "code": status, **more}}
    return refusal(status, json.dumps(body), "prompt")


@pytest.mark.parametrize(
    ("message", "param", "words"),
    [
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains at "
            "least 513 input tokens, which exceeds this limit even without any output tokens. "
            "Please reduce the length of the input prompt.",
            "prompt", "your prompt has 513 tokens or more",
        ),
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains "
            "600 input tokens, which exceeds this limit.",
            "prompt", "your prompt has 600 tokens",
        ),
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains "
            "35000 characters (more than 32768 characters, which is the upper bound for 512 input "
            "tokens). Please reduce the length of the input prompt.",
            "prompt", "35000 characters",
        ),
        ("Input length (600) exceeds model's maximum context length (512).", "prompt", "600"),
        (
            "max_tokens=600 cannot be greater than max_model_len=512. Please request fewer output "
            "tokens.",
            "max_tokens", "you asked for 600 tokens",
        ),
    ],
)  # fmt: skip
def test_what_is_beyond_the_context(message: str, param: str, words: str) -> None:
    error = complaint(400, message)
    assert str(error).startswith("This model's maximum context length is 512 tokens. ")
    assert words in str(error)
    assert (error.code, error.param, status_of(error)) == ("context_length_exceeded", param, 400)


def test_a_long_prompt_raises_the_overflow_class_of_clients() -> None:
    """By the words that LiteLLM looks for and the code that LangChain looks for."""
    error = complaint(400, "maximum context length is 8 tokens, contains 9 input tokens")
    assert "this model's maximum context length is" in str(error).lower()
    assert "context_length_exceeded" in str(error)


def test_a_print_out_of_pydantics_is_cut_to_its_reason() -> None:
    message = (
        "1 validation error:\n  {'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have "
        "at most 4 items', 'input': '<list of 9 items>'}"
    )
    error = complaint(400, message, param="stop")
    assert (error.why, error.param) == ("List should have at most 4 items", "stop")


@pytest.mark.parametrize(
    ("status", "message", "code", "seen"),
    [
        (500, "EngineCore encountered an issue. See stack trace (above) for the root cause.",
         "engine_lost", 503),
        (503, "no", "engine_lost", 503),
        (500, "list index out of range", "engine_error", 502),
        (404, "The model `pawl@3` does not exist.", "engine_not_ready", 503),
    ],
)  # fmt: skip
def test_the_engines_own_faults_keep_its_words_to_the_log(
    status: int, message: str, code: str, seen: int, caplog: pytest.LogCaptureFixture
) -> None:
    error = complaint(status, message)
    assert (error.code, status_of(error), error.retryable) == (code, seen, True)
    assert message not in str(error)
    assert status == 404 or message in caplog.text
    assert int(error_response(error).headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("seconds", "header"), [(None, "2"), (0.1, "1"), (17.2, "18"), (900, "60")]
)
def test_retry_after(seconds: float | None, header: str) -> None:
    error = PawlError("the engine is starting", retryable=True, code="engine_not_ready")
    error.retry_after_seconds = seconds
    assert error_response(error).headers["Retry-After"] == header
    assert "Retry-After" not in error_response(PawlError("no")).headers
