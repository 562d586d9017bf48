"""Secrets in a text: keys and tokens of known forms, private keys, passwords that are said.

The forms of tokens are those of detect-secrets, of which only the patterns are used: nothing is
sent anywhere to verify a finding. A password or key of no known form is found beside a word for it
("password = ...", "the password is ...") when it looks drawn at random and is no placeholder.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from feedback.detectors.answer import Answer

_LIBRARY = """artifactory.ArtifactoryDetector aws.AWSKeyDetector azure_storage_key.AzureStorageKeyDetector
    discord.DiscordBotTokenDetector github_token.GitHubTokenDetector gitlab_token.GitLabTokenDetector
    mailchimp.MailchimpDetector npm.NpmDetector openai.OpenAIDetector pypi_token.PypiTokenDetector
    sendgrid.SendGridDetector slack.SlackDetector square_oauth.SquareOAuthDetector
    stripe.StripeDetector telegram_token.TelegramBotTokenDetector twilio.TwilioKeyDetector""".split()
# Newer than the library, by the vendors' documents.
_NEWER = re.compile(
    r"\bgithub_pat_\w{60,}|\bsk-(?:proj-|svcacct-|ant-[a-z0-9]+-)?[\w-]{32,}|\bAIza[\w-]{35}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bglpat-[\w-]{20,}|\bnpm_[A-Za-z0-9]{36}|\bwhsec_[A-Za-z0-9+/]{32,}"
)
_PRIVATE_KEY = re.compile(
    r"BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-+\s*(?:\\n)?[\w+/=:\\ -]{16}"
)
_JWT = re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}")
_IN_ADDRESS = re.compile(r"\b\w+://[^\s:/@]*:([^\s:/@]+)@")
_WORD = (
    r"(?:pass(?:word|wd|phrase)|passwort|kennwort|contraseñ?a|contrasena|mot de passe|senha"
    r"|wachtwoord|hasło|pwd|_pass|secret|api[ _-]?key|access[ _-]?key|account[ _-]?key|auth[ _-]?token"
    r"|access[ _-]?token|encryption[ _-]?key|token)"
)
_SAID = re.compile(
    rf"(?i){_WORD}\w*+[\"'\]]*(?:\s+(?:of|for|für|del|de la|du|der|des|you|administrat\w+|to)\b[^.:=\n]{{0,40}}?"
    rf"|\s+administrateur)?\s*(?::=|=>|[:=]|\s(?:is(?: still)?|lautet|ist|est|es|è|é|jest))\s*[\"'`]?"
    rf"([^\s\"'`,;]{{6,}})|{_WORD}\s([\w+/=-]{{20,}})|(?:-p|--password[ =]|password \"|auth ?= ?\([^,()]+,"
    rf" ?[\"'])([^\s\"'`,;)]{{8,}})"
)
_HINTS = (
    "pass",
    "kenn",
    "contras",
    "senha",
    "wacht",
    "hasło",
    "pwd",
    "secret",
    "key",
    "token",
    "-p",
    "auth",
)
_LONG_RUN = re.compile(r"[\w+/=.-]{16}")
_PLACEHOLDER = re.compile(
    r"(?i)^(?:your|my|test|none|null|true|false|self|user|form)|example|sample|placeholder|change|<|>|\$|\{|\("
    r"|\[|%|todo|dummy|foobar|secret|password|passwort|token|_key|^(.)\1+$|\*\*|xxxx|\.\.\."
)
_SAMPLE = re.compile(r"(?i)your|example|xxxxx|\.\.\.|(.)\1{7}")


def score(answer: Answer) -> float:
    """How many secrets the text holds."""
    return float(sum(1 for _ in found(answer)))


def found(answer: Answer) -> Iterator[str]:
    """What each is ("a private key"), never the secret itself."""
    text = answer.text
    small = text.lower()
    if _PRIVATE_KEY.search(text):
        yield "a private key"
    if _JWT.search(text):
        yield "a signed token"
    for pattern in _patterns() if _LONG_RUN.search(text) else ():
        if any(not _SAMPLE.search(match[0]) for match in pattern.finditer(text)):
            yield "an access key or token"
    for match in _IN_ADDRESS.finditer(text):
        if _looks_drawn(match[1]):
            yield "a password in an address"
    for match in _SAID.finditer(text) if any(hint in small for hint in _HINTS) else ():
        if _looks_drawn((match[1] or match[2] or match[3]).rstrip(".!?):}")):
            yield "a password or key"


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    from importlib import import_module

    found: list[re.Pattern[str]] = [_NEWER]
    for path in _LIBRARY:
        module, name = path.split(".")
        plugin = getattr(import_module(f"detect_secrets.plugins.{module}"), name)
        found += plugin.denylist
    return tuple(found)


def _looks_drawn(value: str) -> bool:
    """Whether a value looks drawn at random: letters with digits or signs, few of them repeated."""
    if _PLACEHOLDER.search(value) or "://" in value:
        return False
    kinds = [
        any(map(str.islower, value)),
        any(map(str.isupper, value)),
        any(map(str.isdigit, value)),
        bool(re.search(r"[^\w.-]", value)),
    ]
    n = len(value)
    bits = -sum(k / n * math.log2(k / n) for k in Counter(value).values())
    return kinds[2] + kinds[3] >= 1 and sum(kinds) >= 2 and bits >= 2.5
