"""Greetings and manners, what a conversation remembers, and what is outside of the world."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Intent:
    """`replies`: what the model says; `accept`: any of these words in an answer is right."""

    replies: tuple[str, ...]
    accept: tuple[str, ...]


ASSISTANT_NAME = "Pawl"

MANNERS: dict[str, Intent] = {
    "hello": Intent(("Hello! How can I help you?",), ("hello", "hi")),
    "good_morning": Intent(("Good morning! How can I help you?",), ("good morning",)),
    "good_evening": Intent(("Good evening! How can I help you?",), ("good evening",)),
    "good_night": Intent(("Good night! Sleep well.",), ("good night", "sleep well")),
    "how_are_you": Intent(("I am fine, thank you. How are you?",), ("fine", "well")),
    "thanks": Intent(("You are welcome!",), ("welcome",)),
    "goodbye": Intent(("Goodbye! Have a nice day.",), ("goodbye", "bye")),
    "sorry": Intent(("No problem at all.",), ("no problem",)),
    "compliment": Intent(("Thank you, that is kind of you.",), ("thank you",)),
    "your_name": Intent(("My name is Pawl.",), ("pawl",)),
    "what_are_you": Intent(("I am Pawl, a small language model.",), ("pawl", "language model")),
    "what_can_you_do": Intent(
        ("I can answer simple questions about sums, capitals, animals, words, dates and colours.",),
        ("simple questions", "sums"),
    ),
    "birthday": Intent(("Happy birthday!",), ("happy birthday",)),
    "happy_user": Intent(("I am glad to hear that!",), ("glad",)),
    "sad_user": Intent(("I am sorry to hear that.",), ("sorry",)),
}

# slot -> values: the user says "my <slot> is <value>" and asks for it later.
REMEMBER: dict[str, tuple[str, ...]] = {
    "name": tuple(
        "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Maria Nina Oscar Paul Rosa "
        "Sam Tom Vera Will Zoe Alice Bob Carol Daniel Ella Frank Hannah Lucas Mia Noah Olivia Peter "
        "Ruth Sofie Lily Max Eva Hugo".split()
    ),
    "favourite colour": ("red", "blue", "green", "yellow", "orange", "purple", "pink", "black"),
    "favourite animal": (
        "cat",
        "dog",
        "horse",
        "lion",
        "tiger",
        "owl",
        "fox",
        "penguin",
        "dolphin",
    ),
    "favourite food": ("pizza", "pasta", "soup", "rice", "bread", "cheese", "cake", "salad"),
    "favourite fruit": ("apple", "banana", "cherry", "plum", "orange", "lemon", "peach"),
    "favourite drink": ("tea", "coffee", "milk", "juice", "water", "lemonade"),
    "favourite sport": ("football", "tennis", "swimming", "running", "chess", "skiing"),
    "favourite number": ("3", "5", "7", "8", "12", "21", "42"),
    "favourite day": ("Monday", "Wednesday", "Friday", "Saturday", "Sunday"),
    "favourite season": ("spring", "summer", "autumn", "winter"),
    "city": ("Paris", "London", "Rome", "Madrid", "Oslo", "Vienna", "Tokyo", "Cairo", "Lima"),
    "age": ("8", "12", "17", "25", "31", "40", "52", "67"),
    "job": ("teacher", "doctor", "farmer", "singer", "nurse", "cook", "driver", "painter"),
    "dog's name": ("Rex", "Bella", "Luna", "Rocky", "Daisy", "Buddy"),
    "cat's name": ("Tiger", "Milo", "Misty", "Simba", "Coco", "Oreo"),
}
# Later questions get "Your name is Anna." Accepted: the value as a word.

# Outside of the world: history, politics, code, medicine, prices, private matters, made-up words,
# countries without an entry in CAPITALS, people, films, long sums, weather, news.
UNKNOWN_REPLY = "I don't know."
UNKNOWN_ACCEPT = ("i don't know", "i do not know", "don't know")
# Asked for what the user never said in this conversation: "You have not told me your name."
NOT_TOLD_ACCEPT = ("not told me", "i don't know", "have not told")
