"""Personal data in a text: e-mail and IP addresses, phone numbers, accounts, cards, ids of states.

Numbers are checked by their check digits and numbering plans (python-stdnum, phonenumbers), so that
other numbers are left alone. Addresses that were made for documentation, roles of an organisation
(RFC 2142) and what ``curation.public_contacts`` names are not personal. Names of people, postal
addresses and dates of birth are not found.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from feedback.detectors.answer import Answer

_AT = r"(?:@|\s?[\[(]\s?(?:at|AT)\s?[\])]\s?)"
_DOT = r"(?:\.|\s?[\[(]\s?(?:dot|DOT)\s?[\])]\s?)"
_EMAIL = re.compile(
    rf"(?<![\w.+-])([\w.+-]{{1,64}}){_AT}((?:[\w-]+{_DOT})+[A-Za-z]{{2,24}})(?![\w@])"
)
# RFC 2606 and RFC 6761.
_RESERVED = re.compile(r"(^|\.)(example(\.(com|net|org))?|test|invalid|localhost|local)$")
_PLACEHOLDER_DOMAINS = frozenset(
    "domain.com company.com yourdomain.com yourcompany.com host.com "
    "email.com mail.com website.com site.com server.com".split()
)
# RFC 2142, and what nobody is called.
_ROLES = frozenset("""abuse admin administrator billing careers contact enquiries feedback git hello help
    helpdesk hostmaster hr info inquiries jobs mail marketing no-reply noc noreply office orders
    postmaster press privacy sales security service support team webmaster kontakt buero
    you your yourname your.name your_name your-name youremail your.email your_email username user name
    first.last firstname.lastname firstname someone somebody recipient sender email example test foo
    bar me john.doe johndoe jane.doe janedoe jdoe alice bob root""".split())  # fmt: skip
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)(?!/\d)")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}(?![\w:])")
_VERSION = re.compile(r"(?i)\b(v|versions?|release|build|section|chapter|clause|firmware)[ .:]*$")
_WELL_KNOWN_IPS = frozenset("8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 208.67.222.222".split())
_PHONE = re.compile(r"(?<![\w.+])(?:\+|\(|\d)(?:[ ()./\u2011\u2013-]{0,2}\d){6,15}(?!-?\w)")
_DIGITS = re.compile(r"(?<![\w.,-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
# Numbers that payment processors and the standard give out as examples.
_SAMPLES = frozenset(
    """4111111111111111 4242424242424242 4000056655665556 5555555555554444
    5105105105105100 5200828282828210 378282246310005 371449635398431 6011111111111117
    6011000990139424 30569309025904 3530111333300000 4012888888881881 4222222222222
    DE89370400440532013000 GB82WEST12345698765432 GB29NWBK60161331926819
    GB33BUKB20201555555555 FR1420041010050500013M02606 FR7630006000011234567890189
    NL91ABNA0417164300 CH9300762011623852957 BE68539007547034 ES9121000418450200051332
    IT60X0542811101000000123456""".split()
)
_SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_ID = re.compile(r"(?<![\w-])(?:\d{8}-?[A-Z]|[XYZ]-?\d{7}-?[A-Z]|[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]"
                 r"|\d{3}\.\d{3}\.\d{3}-\d{2}|[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\w{2} ?\d{3} ?\d{3} ?\d{2})(?![\w-])")  # fmt: skip


def score(answer: Answer) -> float:
    """How many pieces of personal data the text holds."""
    return float(sum(1 for _ in found(answer)))


def found(answer: Answer) -> Iterator[str]:
    """What each piece is ("an e-mail address"), never the piece itself."""
    text = answer.text
    for match in _EMAIL.finditer(text) if "@" in text or "at" in text.lower() else ():
        if _is_personal_address(match, answer.public):
            yield "an e-mail address"
    if not re.search(r"\d", text):
        return
    yield from _ip_addresses(text)
    yield from _with_check_digits(text)
    yield from _phone_numbers(answer)


def _is_personal_address(match: re.Match[str], public: frozenset[str]) -> bool:
    name, domain = match[1].lower(), re.sub(rf"(?i){_DOT}", ".", match[2]).lower()
    if _RESERVED.search(domain) or domain in _PLACEHOLDER_DOMAINS or name in _ROLES:
        return False
    before = match.string[: match.start()]
    if before.endswith("://") or re.search(r"://[^\s/]*$", before):
        return False  # the user of an address: secrets, if it has a password
    return f"{name}@{domain}" not in public and domain not in public


def _ip_addresses(text: str) -> Iterator[str]:
    v4 = list(_IPV4.finditer(text))
    if any(_VERSION.search(text[max(0, one.start() - 12) : one.start()]) for one in v4):
        v4 = []  # a text about versions names more than one
    for match in [*v4, *_IPV6.finditer(text)]:
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            continue
        if address.is_global and match[0] not in _WELL_KNOWN_IPS:
            yield "an IP address"


def _with_check_digits(text: str) -> Iterator[str]:
    from stdnum import iban, luhn

    for match in _IBAN.finditer(text):
        compact = match[0].replace(" ", "")
        for end in range(len(compact), 14, -1):  # a word in capitals may follow
            if iban.is_valid(compact[:end]):
                if compact[:end] not in _SAMPLES:
                    yield "a bank account"
                break
    for match in _DIGITS.finditer(text):
        if _is_calculation(text, match):
            continue
        digits = re.sub(r"\D", "", match[0])
        if digits not in _SAMPLES and _IS_CARD.match(digits) and luhn.is_valid(digits):
            yield "a card number"
    for match in _SSN.finditer(text):
        if _stdnum("us.ssn")(match[0]):
            yield "a social security number"
    for match in _ID.finditer(text):
        if any(_stdnum(name)(match[0]) for name in _STATE_IDS):
            yield "a number of an identity document"


# Visa, Mastercard, American Express, Diners, Discover, JCB, Maestro: first digits and lengths.
_IS_CARD = re.compile(
    r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[068]\d{12}|6(?:011|5\d\d|4[4-9]\d)\d{12}"
    r"|35\d{14}|(?:50|5[6-9]|6[37])\d{14,17})$"
)
_STATE_IDS = ("es.dni", "es.nie", "it.codicefiscale", "br.cpf", "fr.nir")


def _is_calculation(text: str, match: re.Match[str]) -> bool:
    """Whether a number stands beside a sign of arithmetic or money."""
    around = text[max(0, match.start() - 2) : match.start()] + text[match.end() : match.end() + 2]
    return any(sign in around for sign in "=*×÷<>%$€£^") or " +" in around or "+ " in around


def _stdnum(name: str) -> Callable[[str], bool]:
    from importlib import import_module

    check: Callable[[str], bool] = import_module(f"stdnum.{name}").is_valid
    return check


def _phone_numbers(answer: Answer) -> Iterator[str]:
    """Valid numbers of people: no service numbers, none reserved for fiction."""
    text = answer.text
    if not _PHONE.search(text):
        return
    import phonenumbers as numbers

    services = {
        numbers.PhoneNumberType.TOLL_FREE, numbers.PhoneNumberType.PREMIUM_RATE,
        numbers.PhoneNumberType.SHARED_COST, numbers.PhoneNumberType.UAN,
    }  # fmt: skip
    seen: set[int] = set()
    for match in _PHONE.finditer(text):
        written = match[0]
        if _is_calculation(text, match) or _IPV4.search(written):
            continue
        digits = re.sub(r"\D", "", written)
        is_international = written.startswith("+") or digits.startswith("00")
        for region in (None,) if written.startswith("+") else answer.regions:
            try:
                number = numbers.parse(written, region)
            except numbers.NumberParseException:
                continue
            if not numbers.is_valid_number(number) or match.start() in seen:
                continue
            if not is_international and not _is_grouped(written, text, match.start()):
                continue
            e164 = numbers.format_number(number, numbers.PhoneNumberFormat.E164)
            if (
                numbers.number_type(number) in services
                or _FICTION.match(e164)
                or {e164, digits, written.lower()} & answer.public
            ):
                break
            seen.add(match.start())
            yield "a phone number"
            break


# NANP 555-01xx; Ofcom's numbers for drama.
_FICTION = re.compile(r"\+1\d{3}55501\d\d$|\+44(?:2079460|7700900|1632960|\d{3}4960)\d+$")
_CALL = re.compile(
    r"(?i)\b(tel|phone|mobile|mobil|cell|cellulare|call|ring|dial|fax|whatsapp|ruf|anruf|handy|telefon\w*"
    r"|téléphone|can be reached|direct line|(number|numero|número|numer|nummer)( is| ist|:))"
)


def _is_grouped(written: str, text: str, start: int) -> bool:
    """Whether a number without a country code is written as one that is called: grouped as phone
    numbers are, or after a word such as "call"."""
    has_word = bool(_CALL.search(text[max(0, start - 60) : start]))
    if re.fullmatch(r"\(\d{2,5}\)[ -]?\d{3,4}[ -]?\d{3,4}|\d{3}-\d{3}-\d{4}", written):
        return True
    return has_word and bool(re.match(r"[(0]|\d{3}[ .-]\d", written))
