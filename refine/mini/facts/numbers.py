"""Ranges of the topics that a rule makes."""

SUM_MAX = 50  # a + b with a, b from 0 to 50
DIFFERENCE_MAX = 50  # a - b with 0 <= b <= a <= 50
PRODUCT_MAX = 10  # a x b with a, b from 0 to 10
DOUBLE_MAX = 25  # double of n, half of 2n
COMPARE_MAX = 99  # the larger / smaller of two numbers; even or odd
NUMBER_WORD_MAX = 20  # numbers up to this one also come as words in questions; answers: digits

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()

# Sequences: 4 terms shown, the next is asked. start 0..40; key: the shown terms, "2,4,6,8".
SEQUENCE_STEPS = (1, 2, 3, 4, 5, 10)  # upwards
SEQUENCE_STEPS_DOWN = (1, 2, 5)  # downwards, never below zero
SEQUENCE_START_MAX = 40
SEQUENCE_SHOWN = 4
DOUBLING_STARTS = (1, 2, 3, 4, 5)  # 3, 6, 12, 24 -> 48
# Letters: the letter after / before another, and 3 or 4 letters in a row -> the next.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
