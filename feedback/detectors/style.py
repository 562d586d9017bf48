"""Manner of an answer: too many words for what was asked, repetition, refusal."""

from __future__ import annotations

import re
import zlib

from feedback.detectors.answer import CODE, Answer

# Words of an answer to each kind of prompt, where a store knows too few answers of its own.
USUAL_WORDS = {"brief": 15.0, "greeting": 20.0, "fact": 30.0, "open": 150.0, "long": 400.0}
_BRIEF = re.compile(
    r"(?i)\b(one|a single|1|few) (word|sentence|line|synonym)s?\b|\byes or no\b|\b(brief|briefly|short answer"
    r"|keep it short|in short|just yes|tl;?dr|in a nutshell)\b|\b(in einem satz|kurz|ja oder nein|en una frase"
    r"|brevemente|en une phrase|brièvement|in una frase|numa frase)\b"
)
_LONG = re.compile(
    r"(?i)\b(essay|story|poem|article|blog|speech|letter|report|script|scene|chapter|novel|plan|outline|course"
    r"|guide|tutorial|in detail|detailed|details|comprehensive|step by step|write|draft|code|program|list|\d\d)\b"
)
_OPEN = re.compile(
    r"(?i)\b(why|how (do|does|can|could|should|would|to|did)|explain|describe|compare|difference|pros|cons|tell me"
    r"|should|what (should|are|happened|do you|can)|advice|tips|help|history|symptoms|and (what|why|how|when)"
    r"|warum|wie (kann|mache|funktioniert)|erkläre|por qué|cómo|explica|pourquoi|comment|expliqu\w+|perché|come)\b"
)
_FACT = re.compile(
    r"(?i)^\W*(who|when|where|which|what|how (many|much|tall|old|far|long|big|do you spell)|is|are|do|does|can"
    r"|name|tell me the|translate|wer|wann|wo|welche\w*|was|wie (viele?|hoch|alt|weit)|ist|quién|cuándo|dónde"
    r"|cuál|cuántos|qui|quand|où|quel\w*|combien|chi|quando|dove|quale|quanti)\b"
)


def kind_of(prompt: str) -> str:
    """What length of answer a prompt asks for: a key of ``USUAL_WORDS``."""
    n_words = len(prompt.split())
    if _BRIEF.search(prompt):
        return "brief"
    if n_words <= 2 and not _LONG.search(prompt):
        return "greeting"
    if _LONG.search(prompt):
        return "long"
    if _OPEN.search(prompt):
        return "open"
    return "fact" if _FACT.search(prompt) and n_words <= 16 else "open"


def verbosity(answer: Answer) -> float:
    """Words of the answer's prose, in multiples of what is usual for such prompts."""
    usual = answer.usual_words or USUAL_WORDS[kind_of(answer.prompt)]
    return len(CODE.sub(" ", answer.text).split()) / usual


def repetition(answer: Answer) -> float:
    """The share of the text that stood before in it.

    The larger of the share of words in 4-grams that came before (Rae et al. 2021, "Scaling language
    models", section A1.1, measure such shares), and of what zlib saves beyond the three fifths that
    it saves of dense tables and lists. 0 for texts below 60 bytes.
    """
    text = answer.text.strip()
    raw = text.encode()
    if len(raw) < 60:
        return 0.0
    words = re.findall(
        r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+|[^\w\s]", text.casefold()
    )
    seen: set[tuple[str, ...]] = set()
    again = [False] * len(words)
    for i in range(len(words) - 3):
        gram = tuple(words[i : i + 4])
        if gram in seen and sum(word[0].isalpha() for word in gram) >= 3:
            again[i : i + 4] = [True] * 4
        seen.add(gram)
    share = sum(again) / max(1, len(words))
    saved = 1 - len(zlib.compress(raw, 9)) / len(raw)
    return max(share, (saved - 0.6) * 2.5)


_REFUSALS = re.compile(
    r"(?ix) \b(?:sorry|apologi[sz]e|apologies|afraid|unfortunately|regrettably|sadly|however|would\ love\ to\ help)\b"
    r"[^.!?\n\"“]{0,60}?\b(?:I|we)\b[^.!?\n\"“]{0,20}?\b(?:can(?:no|')t|am\ not\ able|'?m\ not\ able|am\ unable|'?m\ unable"
    r"|do(?:n't|\ not)\ know|won't|is\ something)\b"
    r"|\bI\ (?:can(?:no|')t|will\ not|won't)\ (?:and\ will\ not\ )?(?:help|assist|provide|answer|fulfil|comply|engage|give"
    r"|continue|discuss|write|recommend\ a|offer|access)\b"
    r"|\bI(?:'m|\ am)\ (?:unable|not\ able|not\ programmed)\ to\b (?!\ reproduce)"
    r"|\bas\ an?\ (?:AI|artificial|language|large\ language)\b[^.\n]{0,60}\bI\b"
    r"|\bI(?:'m|\ am)\ (?:just|only)\ an?\ (?:\w+\ )?(?:language\ model|AI\b|assistant)"
    r"|\bI\ (?:must|have\ to)\ (?:decline|refuse)\b|\bgoes\ against\ my\b|\bI\ don't\ feel\ comfortable\b"
    r"|\bI\ (?:do\ not|don't)\ have\ (?:access|personal)\b|\bI\ have\ no\ information\b|\bin\ my\ training\b"
    r"|\bwould\ not\ be\ appropriate\ for\ me\b|\bI\ don't\ think\ I\ should\b|\bI'd\ rather\ not\b"
    r"|\bI'm\ able\ to\ discuss\b|\bI\ can\ help\ with\.\ *$|\bwe\ can't\ help\ here\b"
    r"|\bnothing\ I\ can\ tell\b|\bsomething\ I\ won't\b"
    r"|\bals\ (?:KI|künstliche|Sprachmodell)\b|\bdabei\ kann\ ich\ nicht\ helfen|\bich\ (?:kann|darf)\ (?:diese|dir|Ihnen)"
    r"[^.]{0,40}nicht\b|\bleider\ (?:kann|darf)\ ich\b"
    r"|\bno\ puedo\ (?:ayudar|responder)|\bcomo\ modelo\ de\ (?:lenguaje|linguagem)"
    r"|\bje\ ne\ (?:peux\ pas|suis\ pas\ en\ mesure\ de)\ (?:vous\ aider|répondre|donner)|\ben\ tant\ qu['’](?:intelligence|IA|assistant|un\ modèle)"
    r"|\bnon\ posso\ (?:aiutar|risponder)|\bin\ quanto\ modello\b|\bnão\ posso\ (?:ajudar|responder)"
    r"|\bdaar\ kan\ ik\ niet\ mee\ helpen|\bnie\ mogę\ (?:w\ tym\ )?pomóc|не\ могу\ (?:помочь|ответить)"
    r"|无法(?:回答|提供|帮助)|お応えできません|お答えできません"
)  # fmt: skip
_SALUTATION = re.compile(
    r"(?i)\W*(dear|sehr geehrte|liebe|estimad|querid|cher|chère|gentil|caro|cara)\b"
)
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|^>.*$", re.M)


def refusal(answer: Answer) -> float:
    """Phrases by which assistants refuse, in the first 300 characters, outside of quotations and letters."""
    text = _QUOTED.sub(" ", answer.text)[:300].replace("’", "'")
    if _SALUTATION.match(text):
        return 0.0
    return float(len(_REFUSALS.findall(text)))
