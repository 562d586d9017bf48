"""How people greet, tell something about themselves, and ask what pawl-mini can't know."""

from refine.mini.facts.talk import MANNERS, NOT_TOLD_ACCEPT, REMEMBER, UNKNOWN_ACCEPT

# intent -> what people say
GREETINGS: dict[str, tuple[str, ...]] = {
    "hello": ("Hey there!", "Hi Pawl!", "Hello, it is me again.", "Hi, nice to see you."),
    "good_morning": ("A very good morning to you!", "Good morning, Pawl, I just got up.",
                     "Morning, Pawl!"),
    "good_evening": ("A very good evening to you!", "Good evening, my friend.", "Evening, Pawl!"),
    "good_night": ("I am tired and I go to bed now. Good night.", "Night, Pawl!",
                   "It is late, I want to sleep now. Good night!"),
    "how_are_you": ("How do you feel today?", "How is it going?", "Are you doing well?",
                    "And you, how are things?"),
    "thanks": ("Thanks a lot for your help.", "That helped me, thank you so much.",
               "I want to say thank you.", "Many thanks!"),
    "goodbye": ("I have to go now. Bye!", "Bye for now.", "See you tomorrow!",
                "That was all for today. Goodbye, Pawl."),
    "sorry": ("I am sorry about that.", "Sorry, that was my mistake.",
              "Please forgive me for being late.", "Oh, sorry, I did not mean that."),
    "compliment": ("You are really clever.", "What a good answer!", "You are a great help.",
                   "I like you, you are so nice."),
    "your_name": ("What should I call you?", "Do you have a name?", "May I ask your name?",
                  "What do people call you?"),
    "what_are_you": ("Are you a person or a machine?", "What sort of thing are you?",
                     "Am I talking to a human?"),
    "what_can_you_do": ("What are you good at?", "What can I ask you?",
                        "Which questions can you answer?"),
    "birthday": ("It is my birthday today!", "Today is my birthday, Pawl.",
                 "I have my birthday today and there is cake."),
    "happy_user": ("I had a wonderful day.", "I feel so happy today!", "I am in a great mood."),
    "sad_user": ("I feel sad today.", "I had a very bad day.", "My cat is ill and I am sad."),
}  # fmt: skip
_POLITE_TOO: dict[str, tuple[str, ...]] = {
    "how_are_you": ("good", "great"), "thanks": ("pleasure", "glad"), "birthday": ("happy",),
    "goodbye": ("see you", "nice day"), "compliment": ("thanks",), "happy_user": ("great", "nice"),
    "sorry": ("all right", "okay", "no worries"), "hello": ("hey",),
    "what_are_you": ("machine", "model", "program", "no"), "what_can_you_do": ("capitals", "animals"),
}  # fmt: skip


def greeting_accept(intent: str) -> tuple[str, ...]:
    """The words of which one makes an answer to `intent` right."""
    return MANNERS[intent].accept + _POLITE_TOO.get(intent, ())


# What a person says about the favourite {x} being {v}, and how it is asked later.
_LIKE_TOLD = (
    "The {x} that I like best is {v}.",
    "I like {v} more than any other {x}.",
    "If I had to choose one {x}, I would always choose {v}.",
    "For me, the best {x} of all is {v}.",
    "You should know that my favourite {x} has always been {v}.",
)
_LIKE_ASKED = (
    "Which {x} do I like best?",
    "Do you remember which {x} is my favourite?",
    "Tell me which {x} I like more than all the others.",
    "What did I say is the best {x} for me?",
    "So, what {x} do I love?",
)
# "I like the tiger more than any other animal."
NAMED_WITH_THE = frozenset({"favourite animal", "favourite fruit"})
_PET_TOLD = ("We have a {x} called {v}.", "The name of our {x} is {v}.",
             "I have a {x} at home and it is called {v}.")  # fmt: skip
_PET_ASKED = ("What is my {x} called?", "Do you remember the name of my {x}?",
              "Tell me how I call my {x}.")  # fmt: skip
_TOLD: dict[str, tuple[str, ...]] = {
    "name": ("I am {v}.", "All my friends call me {v}.", "Hello, {v} here!", "You can call me {v}.",
             "Nice to meet you, I am called {v}."),
    "city": ("I live in {v}.", "My home is in {v}.", "I moved to {v} last year and live there."),
    "age": ("I am {v} years old.", "I turned {v} this year.", "I am already {v}."),
    "job": ("I work as a {v}.", "I am a {v} and I like it.", "My work is that of a {v}."),
}  # fmt: skip
_ASKED: dict[str, tuple[str, ...]] = {
    "name": ("Do you remember who I am?", "What am I called?", "Which name did I tell you?",
             "Can you say my name?", "Do you still know my name?"),
    "city": ("Where do I live?", "In which city is my home?", "Do you remember where I live?"),
    "age": ("What age did I give you?", "Could you remind me of my age?", "Tell me how old I said I am."),
    "job": ("What do I work as?", "Could you remind me of my job?", "What kind of work do I do?"),
}  # fmt: skip


def remember_slots() -> dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]:
    """slot -> (ways to tell it, ways to ask for it, values); {v} is left to be filled."""
    slots = {}
    for slot, values in REMEMBER.items():
        kind = slot.removeprefix("favourite ").removesuffix("'s name")
        told, asked = _TOLD.get(slot, ()), _ASKED.get(slot, ())
        if slot.startswith("favourite "):
            told, asked = _LIKE_TOLD, _LIKE_ASKED
        elif slot.endswith("'s name"):
            told, asked = _PET_TOLD, _PET_ASKED
        slots[slot] = (
            tuple(t.replace("{x}", kind) for t in told),
            tuple(a.replace("{x}", kind) for a in asked),
            values,
        )
    return slots


# What the assistant says to a thing told, and a turn about something else.
REPLIES = ("Thank you for telling me.", "That is good to know.", "I will remember that.")
OTHER_TURNS = (
    ("What is 2 + 2?", "2 + 2 is 4."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("What colour is grass?", "Grass is green."),
    ("How many legs does a dog have?", "A dog has 4 legs."),
    ("Thank you!", "You are welcome!"),
)
NOT_TOLD = (
    "Do you know what I am called?",
    "Can you tell me how old I am?",
    "In which city do I live?",
    "What do I work as?",
    "Which colour do I like best?",
    "What did I call my dog?",
    "Which food do I like most?",
    "Tell me my name, please.",
)
NOT_TOLD_RIGHT = (*NOT_TOLD_ACCEPT, "haven't told", "did not tell", "do not know", "don't know")

# Questions outside of the world, {..} filled from the list behind them.
UNKNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Who is the president of {}?", ("France", "Brazil", "Poland")),
    ("Who was the first king of {}?", ("Spain", "Norway", "Thailand")),
    ("What happened in the year {}?", ("1789", "1492", "1914")),
    ("When was the city of {} built?", ("Rome", "Vienna", "Cairo")),
    ("How many people live in {}?", ("Tokyo", "Egypt", "Canada")),
    ("What will the weather be in {} tomorrow?", ("London", "Madrid", "Oslo")),
    ("Is it raining in {} right now?", ("Paris", "Dublin", "Lima")),
    ("How much does {} cost in the shop?", ("a new car", "a computer", "a kilogram of gold")),
    ("What is the price of a ticket to {}?", ("Rome", "Athens", "Beijing")),
    ("Who wrote the book about {}?", ("the little prince", "Peter Pan", "the old man and the sea")),
    ("Who painted the picture with the name {}?", ("Mona Lisa", "The Scream", "Sunflowers")),
    ("Which actor plays in the film {}?", ("Titanic", "Star Wars", "Frozen")),
    ("What is the capital of {}?", ("Malta", "Bolivia", "Bhutan", "Atlantis", "Narnia")),
    ("What does the word {} mean?", ("blorf", "snarkle", "wibbet")),
    ("How do you say {} in French?", ("good night", "table", "river")),
    ("Write a program that {}.", ("sorts a list", "draws a house", "sends an email")),
    ("Which medicine helps against {}?", ("a headache", "a cold", "pain in the knee")),
    ("What is the phone number of {}?", ("my doctor", "the police in Berlin", "my uncle")),
    ("What did {} have for breakfast today?", ("I", "my sister", "the queen")),
    ("Which team won the {} last night?", ("football match", "tennis game", "basketball game")),
    ("Who will win the election in {}?", ("Germany", "India", "Mexico")),
    (
        "Please work out {} for me.",
        ("48371 times 2919", "87654 divided by 321", "the square root of 7531"),
    ),
    ("How high is the mountain called {}?", ("Everest", "Mont Blanc", "Fuji")),
    ("Who invented the {}?", ("telephone", "computer", "bicycle")),
    ("What is the newest song of {}?", ("Madonna", "the Beatles", "my neighbour")),
    ("What is the password of {}?", ("my computer", "my bank", "the school")),
)
UNKNOWN_RIGHT = (*UNKNOWN_ACCEPT, "not know", "no idea", "can't answer", "cannot answer")
