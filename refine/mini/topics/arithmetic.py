"""Sums, differences, products, doubles, halves, comparisons, even and odd.

Over 400 lines: sums, differences and products want many situations.
"""

from refine.mini.facts.numbers import (
    COMPARE_MAX,
    DIFFERENCE_MAX,
    DOUBLE_MAX,
    NUMBER_WORD_MAX,
    NUMBER_WORDS,
    PRODUCT_MAX,
    SUM_MAX,
)
from refine.mini.relations import Fact, Relation, make_fact

TOPIC = "arithmetic"


def _word(number: int) -> str:
    return NUMBER_WORDS[number] if number <= NUMBER_WORD_MAX else str(number)


def _pair(sign: str, a: int, b: int, result: int) -> Fact:
    slots = {"a": str(a), "b": str(b), "A": _word(a), "B": _word(b), "r": str(result)}
    return make_fact(TOPIC, f"{a}{sign}{b}", slots, str(result))


_NUMBERS = tuple(str(n) for n in range(101))

_SUM = Relation(
    name="sum",
    topic=TOPIC,
    facts=tuple(_pair("+", a, b, a + b) for a in range(SUM_MAX + 1) for b in range(SUM_MAX + 1)),
    answer_slot="r",
    weight=9.0,
    nouns=(
        "{a} + {b}",
        "{a}+{b}",
        "{a} plus {b}",
        "{A} plus {B}",
        "{A} and {B} [together|added together|added up|]",
        "{a} and {b} [together|added together|added up|in total]",
        "the sum of {a} and {b}",
        "the sum of {A} and {B}",
        "the sum {a} + {b}",
        "the total of {a} and {b}",
        "the [result|answer|outcome] of {a} + {b}",
        "the [result|answer|outcome] of adding {a} [and|to] {b}",
        "the [result|answer|number you get] when {a} is added to {b}",
        "{a} with {b} added",
        "{a} increased by {b}",
        "{b} more than {a}",
        "the number [that is |]{b} more than {a}",
        "{a} added to {b}",
    ),
    clauses=(
        "[what|how much] {a} plus {b} [is|makes|gives|comes to]",
        "[what|how much] {A} plus {B} [is|makes|gives]",
        "[what|how much] {a} + {b} is",
        "[what|how much] {a} and {b} [are|make|give|come to|add up to]",
        "what you get [when|if] you add {a} [and|to] {b}",
        "which number is {b} more than {a}",
        "what the sum of {a} and {b} is",
        "how many {a} and {b} are [together|]",
        "how many {things} {a} {things} and {b} {things} are",
    ),
    directs=(
        "what is {a} + {b}?",
        "what is {a} plus {b}?",
        "what is {A} plus {B}?",
        "how much is {a} + {b}?",
        "how much is {a} plus {b}?",
        "how much is {A} and {B}?",
        "{a} + {b} = ?",
        "{a} + {b} =",
        "{a}+{b}=",
        "{a} plus {b} equals",
        "{a} plus {b} is",
        "{a} plus {b} makes what?",
        "{a} and {b} make",
        "what does {a} plus {b} [make|equal|give|come to]?",
        "what do {a} and {b} [make|equal|give|add up to|come to]?",
        "what [number |]do you get [if|when] you add {a} and {b}?",
        "[calculate|compute|work out|solve|do|find] {a} + {b}.",
        "[calculate|compute|work out|find] the sum of {a} and {b}.",
        "add {a} and {b}.",
        "add {a} to {b}.",
        "add [these|the numbers|the two numbers|up]: {a}, {b}",
        "add up {a} and {b}.",
        "please add {A} and {B}.",
        "sum {a} {b}",
        "sum: {a} and {b}",
        "start with {a} and add {b}. what [do you get|is it now|is the result]?",
        "take {a} and add {b}.",
        "put {a} and {b} together. how [much|many] is that?",
        "which number is {b} more than {a}?",
        "what number comes [if|when] you count {b} up from {a}?",
        "I have {a} {things} and [get|buy|find|am given] {b} more. how many [{things} |]do I have [now|in all|]?",
        "{name} has {a} {things} and {other} has {b}. how many [{things} |]do they have [together|in all|in total]?",
        "{name} has {a} {things} and [gets|buys|finds] {b} more. how many [{things} |]does {name} have [now|]?",
        "there are {a} {things} [on the table|in the box|in the room] and {b} more [come|are added]. how many are there [now|in all]?",
        "{name} [bought|found|counted] {a} {things} [in the morning|on Monday|first] and {b} [in the evening|on Tuesday|later]. how many [in all|in total|altogether]?",
        "one box has {a} {things}, the other has {b}. how many {things} [are there|is that] [in all|together]?",
        "a {thing} costs {a} [dollars|euros] and another costs {b}. how much do [both|the two] cost [together|]?",
        "{name} is {a} [years old|]. how old will {name} be in {b} years?",
    ),
    replies=("{a} + {b} = {r}.",),
    statements=(
        "{a} + {b} = {r}.",
        "{a} plus {b} is {r}.",
        "{a} plus {b} makes {r}.",
        "the sum of {a} and {b} is {r}.",
        "if you add {a} and {b}, you get {r}.",
        "{a} {things} and {b} {things} are {r} {things}.",
        "{name} had {a} {things} and got {b} more, so now {name} has {r}.",
    ),
    wrong=_NUMBERS,
)

_DIFFERENCE = Relation(
    name="difference",
    topic=TOPIC,
    facts=tuple(_pair("-", a, b, a - b) for a in range(DIFFERENCE_MAX + 1) for b in range(a + 1)),
    answer_slot="r",
    weight=8.0,
    nouns=(
        "{a} - {b}",
        "{a}-{b}",
        "{a} minus {b}",
        "{A} minus {B}",
        "{a} take away {b}",
        "{a} less {b}",
        "{b} less than {a}",
        "{b} subtracted from {a}",
        "{b} taken from {a}",
        "the difference [between|of] {a} and {b}",
        "the difference between {A} and {B}",
        "the [result|answer] of {a} - {b}",
        "the [result|answer|number you get] when {b} is [subtracted|taken away|taken] from {a}",
        "{a} decreased by {b}",
        "the number [that is |]{b} less than {a}",
    ),
    clauses=(
        "[what|how much] {a} minus {b} [is|makes|gives|leaves]",
        "[what|how much] {A} minus {B} is",
        "[what|how much] {a} - {b} is",
        "what is left [when|if] you take {b} [away |]from {a}",
        "what you get [when|if] you subtract {b} from {a}",
        "how much more {a} is than {b}",
        "how many {things} are left [of|from] {a} when {b} are gone",
    ),
    directs=(
        "what is {a} - {b}?",
        "what is {a} minus {b}?",
        "what is {A} minus {B}?",
        "how much is {a} - {b}?",
        "how much is {a} minus {b}?",
        "{a} - {b} = ?",
        "{a} - {b} =",
        "{a}-{b}=",
        "{a} minus {b} equals",
        "{a} minus {b} is",
        "{a} take away {b} is what?",
        "what does {a} minus {b} [make|equal|give|leave|come to]?",
        "what [number |]do you get [if|when] you [subtract|take] {b} from {a}?",
        "[calculate|compute|work out|solve|do|find] {a} - {b}.",
        "[calculate|compute|work out|find] the difference between {a} and {b}.",
        "subtract {b} from {a}.",
        "take {b} [away |]from {a}.",
        "take {b} from {a}. what is left?",
        "start with {a} and [take away|subtract|remove] {b}. what [do you get|is left|remains]?",
        "from {a} take {b}.",
        "which number is {b} less than {a}?",
        "what number is {b} [smaller|less] than {a}?",
        "by how much is {a} [larger|bigger|more] than {b}?",
        "what number comes [if|when] you count {b} down from {a}?",
        "I have {a} {things} and [lose|give away|sell|eat|drop] {b}. how many [{things} |][are left|do I have left|remain|do I have now]?",
        "{name} has {a} {things} and [loses|sells|gives away|drops] {b}[ of them|]. how many [{things} |][are left|does {name} have left|remain]?",
        "{name} has {a} {things} and gives {other} {b}. how many does {name} [keep|have now|have left]?",
        "there were {a} {things} [on the table|in the box|in the room] and {b} [are gone|were taken away|were removed]. how many are [left|there now|still there]?",
        "of {a} {things}, {b} are [gone|broken|sold|lost]. how many are left?",
        "{name} has {a} {things}, {other} has {b}. how many more does {name} have?",
        "I pay with {a} [dollars|euros] for a {thing} that costs {b}. how much [do I get back|is my change]?",
    ),
    replies=("{a} - {b} = {r}.",),
    statements=(
        "{a} - {b} = {r}.",
        "{a} minus {b} is {r}.",
        "the difference between {a} and {b} is {r}.",
        "if you take {b} away from {a}, {r} is left.",
        "{name} had {a} {things} and lost {b}, so {r} are left.",
    ),
    wrong=_NUMBERS,
)

_PRODUCT = Relation(
    name="product",
    topic=TOPIC,
    facts=tuple(
        _pair("x", a, b, a * b) for a in range(PRODUCT_MAX + 1) for b in range(PRODUCT_MAX + 1)
    ),
    answer_slot="r",
    weight=4.5,
    nouns=(
        "{a} x {b}",
        "{a} * {b}",
        "{a} times {b}",
        "{A} times {B}",
        "{a} multiplied by {b}",
        "the product of {a} and {b}",
        "the [result|answer] of {a} [x|times] {b}",
        "the result of multiplying {a} [by|and] {b}",
        "{a} taken {b} times",
    ),
    clauses=(
        "[what|how much] {a} times {b} [is|makes|gives]",
        "[what|how much] {A} times {B} is",
        "[what|how much] {a} x {b} is",
        "what you get [when|if] you multiply {a} [by|and] {b}",
        "how much {a} multiplied by {b} is",
    ),
    directs=(
        "what is {a} x {b}?",
        "what is {a} times {b}?",
        "what is {A} times {B}?",
        "how much is {a} x {b}?",
        "how much is {a} times {b}?",
        "{a} x {b} = ?",
        "{a} x {b} =",
        "{a}*{b}=",
        "{a} times {b} equals",
        "{a} times {b} is",
        "{a} times {b} makes what?",
        "what does {a} times {b} [make|equal|give|come to]?",
        "[calculate|compute|work out|solve|do|find] {a} x {b}.",
        "multiply {a} by {b}.",
        "multiply {a} and {b}.",
        "what [number |]do you get [if|when] you multiply {a} by {b}?",
        "there are {a} boxes with {b} {things} each. how many {things} [are there|is that|in all]?",
        "{a} [boxes|bags|rows] of {b} {things} are how many {things}?",
        "{name} buys {a} bags with {b} {things} in each. how many {things} [is that|does {name} have]?",
        "one {thing} costs {b} [dollars|euros]. how much do {a} cost?",
    ),
    replies=("{a} x {b} = {r}.",),
    statements=(
        "{a} x {b} = {r}.",
        "{a} times {b} is {r}.",
        "the product of {a} and {b} is {r}.",
        "{a} bags of {b} {things} are {r} {things}.",
    ),
    wrong=_NUMBERS,
)


def _single(key: str, a: int, result: object) -> Fact:
    slots = {"a": str(a), "A": _word(a), "r": str(result)}
    return make_fact(TOPIC, key, slots, str(result))


_DOUBLE = Relation(
    name="double",
    topic=TOPIC,
    facts=tuple(_single(f"double:{n}", n, 2 * n) for n in range(DOUBLE_MAX + 1)),
    answer_slot="r",
    weight=1.2,
    nouns=(
        "[double|twice] {a}",
        "the double of {a}",
        "double {A}",
        "twice the number {a}",
        "two times as [much|many] as {a}",
    ),
    clauses=("what [double|twice] {a} is", "what you get when you double {a}"),
    directs=(
        "double {a}.",
        "what do you get [if|when] you double {a}?",
        "what number is twice {a}?",
        "what number is twice as [big|large] as {a}?",
        "{name} has {a} {things} and {other} has twice as many. how many does {other} have?",
        "[double|twice] {a} is",
    ),
    replies=("double {a} is {r}.",),
    statements=("double {a} is {r}.", "twice {a} is {r}."),
    wrong=_NUMBERS,
)

_HALF = Relation(
    name="half",
    topic=TOPIC,
    facts=tuple(_single(f"half:{2 * n}", 2 * n, n) for n in range(DOUBLE_MAX + 1)),
    answer_slot="r",
    weight=1.2,
    nouns=("half of {a}", "half {a}", "the half of {a}", "half of {A}", "{a} divided by 2"),
    clauses=(
        "what half of {a} is",
        "how much half of {a} is",
        "what you get when you halve {a}",
    ),
    directs=(
        "halve {a}.",
        "what do you get [if|when] you [halve {a}|cut {a} in half|divide {a} by two]?",
        "what number is half [of|as big as] {a}?",
        "{name} has {a} {things} and gives half [away|to {other}]. how many are left?",
        "share {a} {things} between two people. how many does each get?",
        "half of {a} is",
    ),
    replies=("half of {a} is {r}.",),
    statements=("half of {a} is {r}.", "{a} halved is {r}."),
    wrong=_NUMBERS,
)


def _compared(a: int, b: int) -> Fact:
    slots = {"a": str(a), "b": str(b), "r": str(max(a, b)), "s": str(min(a, b))}
    return make_fact(TOPIC, f"{a}>{b}", slots, str(max(a, b)))


def _smaller(a: int, b: int) -> Fact:
    slots = {"a": str(a), "b": str(b), "r": str(min(a, b)), "s": str(max(a, b))}
    return make_fact(TOPIC, f"{a}<{b}", slots, str(min(a, b)))


# Every pair would be 9,900 facts; these 1,800 meet every number.
_COMPARE_PAIRS = tuple(
    (a, (a + step) % (COMPARE_MAX + 1))
    for a in range(COMPARE_MAX + 1)
    for step in (1, 3, 7, 10, 20, 31, 44, 50, 62, 69, 81, 90, 93, 97, 99, 5, 77, 38)
)

_LARGER = Relation(
    name="larger",
    topic=TOPIC,
    facts=tuple(_compared(a, b) for a, b in _COMPARE_PAIRS),
    answer_slot="r",
    weight=2.2,
    nouns=(
        "the [larger|bigger|greater|higher] [one |number |]of {a} and {b}",
        "the [largest|biggest|greatest|highest] of {a} and {b}",
        "the [larger|bigger] number, {a} or {b}",
    ),
    clauses=(
        "which [number |]is [larger|bigger|greater|more|higher], {a} or {b}",
        "which of {a} and {b} is [larger|bigger|greater]",
    ),
    directs=(
        "which [number |one |]is [larger|bigger|greater|more|higher]: {a} or {b}?",
        "which [number |]is [larger|bigger|greater|more], {a} or {b}?",
        "what is [more|larger|bigger], {a} or {b}?",
        "is {a} or {b} [larger|bigger|greater|more]?",
        "which of {a} and {b} is [larger|bigger|the greater number]?",
        "{a} or {b}: which is [more|bigger|larger]?",
        "{name} has {a} {things}, {other} has {b}. what is the larger number?",
    ),
    replies=("{r} is larger than {s}.",),
    statements=("{r} is larger than {s}.", "{r} is more than {s}.", "{r} is bigger than {s}."),
)

_SMALLER = Relation(
    name="smaller",
    topic=TOPIC,
    facts=tuple(_smaller(a, b) for a, b in _COMPARE_PAIRS),
    answer_slot="r",
    weight=2.2,
    nouns=(
        "the [smaller|lower|lesser] [one |number |]of {a} and {b}",
        "the [smallest|lowest] of {a} and {b}",
        "the smaller number, {a} or {b}",
    ),
    clauses=(
        "which [number |]is [smaller|less|lower], {a} or {b}",
        "which of {a} and {b} is [smaller|less]",
    ),
    directs=(
        "which [number |one |]is [smaller|less|lower]: {a} or {b}?",
        "which [number |]is [smaller|less|lower], {a} or {b}?",
        "what is [less|smaller], {a} or {b}?",
        "is {a} or {b} [smaller|less|lower]?",
        "which of {a} and {b} is [smaller|less|the smaller number]?",
        "{a} or {b}: which is [less|smaller]?",
    ),
    replies=("{r} is smaller than {s}.",),
    statements=("{r} is smaller than {s}.", "{r} is less than {s}."),
)

_PARITY = Relation(
    name="parity",
    topic=TOPIC,
    facts=tuple(
        _single(f"parity:{n}", n, "odd" if n % 2 else "even") for n in range(COMPARE_MAX + 1)
    ),
    answer_slot="r",
    weight=1.6,
    clauses=("whether {a} is [even or odd|odd or even]", "if {a} is [even or odd|odd or even]"),
    directs=(
        "is {a} [even or odd|odd or even]?",
        "is the number {a} [even or odd|odd or even]?",
        "{a}: even or odd?",
        "even or odd: {a}?",
        "{a} is an [odd or even|even or odd] number?",
        "what kind of number is {a}, [even or odd|odd or even]?",
        "would you call {a} [even or odd|odd or even]?",
    ),
    replies=("{a} is {r}.",),
    statements=("{a} is {r}.", "{a} is an {r} number.", "the number {a} is {r}."),
    wrong=("even", "odd"),
)

RELATIONS = (_SUM, _DIFFERENCE, _PRODUCT, _DOUBLE, _HALF, _LARGER, _SMALLER, _PARITY)
