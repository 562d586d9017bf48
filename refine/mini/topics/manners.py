"""Greetings and manners: what people say, and the one reply to each."""

from refine.mini.facts.talk import MANNERS
from refine.mini.relations import Relation, make_fact

TOPIC = "greetings"

_SAYINGS: dict[str, tuple[str, ...]] = {
    "hello": (
        "hello", "hello!", "hi", "hi!", "hey", "hey!", "hello there", "hi there", "hey there!",
        "hello Pawl", "hi Pawl!", "hey Pawl", "good day", "good day!", "greetings", "greetings!",
        "hello, I am new here", "hello, are you there?", "hi, anyone there?", "hello my friend",
        "hi friend", "hello again", "hi again!", "hello computer", "hey you", "howdy",
        "hi, nice to meet you", "nice to meet you", "hello, it is me", "good afternoon",
        "good afternoon!", "hello, can you hear me?", "hi, can we talk?", "can we chat?",
        "I want to talk to you", "let us talk", "hello, let's chat", "I just want to say hello",
        "I say hello", "say hello", "say hi to me", "welcome back", "are you there?",
    ),
    "good_morning": (
        "good morning", "good morning!", "good morning Pawl", "morning!", "good morning, Pawl!",
        "a good morning to you", "a very good morning", "I just got up, good morning",
        "I wish you a good morning", "hello and good morning", "say good morning",
        "good morning my friend", "good morning to you",
    ),
    "good_evening": (
        "good evening", "good evening!", "good evening Pawl", "evening!", "a good evening to you",
        "hello and good evening", "I wish you a good evening", "good evening, my friend",
        "say good evening", "good evening to you",
    ),
    "good_night": (
        "good night", "good night!", "good night Pawl", "night night", "I am going to bed",
        "I go to bed now", "it is late, good night", "time to sleep", "I will go to sleep now",
        "I am tired and go to bed", "good night, my friend", "sleep well", "sweet dreams",
        "say good night",
    ),
    "how_are_you": (
        "how are you?", "how are you", "how are you today?", "how are you doing?", "how do you do?",
        "hello, how are you?", "hi, how are you?", "hey, how are you doing today?",
        "how is it going?", "how's it going?", "how do you feel?", "how do you feel today?",
        "are you well?", "are you ok?", "are you fine?", "how have you been?", "is all well with you?",
        "how are things?", "what's up?", "are you doing well?", "I hope you are well",
        "how is your day?", "how is your day going?", "how was your day?", "and how are you?",
        "everything ok with you?", "how is life?",
    ),
    "thanks": (
        "thanks", "thanks!", "thank you", "thank you!", "thank you very much", "thanks a lot",
        "many thanks", "thank you so much", "thanks, that helps", "thank you, that was helpful",
        "great, thanks", "ok, thank you", "thanks for your help", "thank you for the answer",
        "thank you for helping me", "thx", "cheers, thanks", "thank you Pawl", "thanks Pawl!",
        "I thank you", "I want to thank you", "very good, thank you", "perfect, thanks",
        "that helped, thanks", "I am grateful", "much appreciated",
    ),
    "goodbye": (
        "goodbye", "goodbye!", "bye", "bye!", "bye bye", "see you", "see you later",
        "see you tomorrow", "see you soon", "I have to go", "I must go now", "I need to leave",
        "I am leaving", "until next time", "farewell", "goodbye Pawl", "bye Pawl!", "take care",
        "that is all for today", "talk to you later", "so long", "ok, bye", "thanks, bye",
        "I will go now, goodbye", "have a nice day", "let us stop here", "we are done, bye",
        "say goodbye",
    ),
    "sorry": (
        "sorry", "sorry!", "I am sorry", "I'm sorry", "excuse me", "I apologise", "my mistake",
        "sorry about that", "I am so sorry", "sorry, my fault", "please forgive me", "pardon me",
        "I made a mistake, sorry", "oops, sorry", "I did not mean that, sorry", "forgive me",
        "sorry that I am late", "I was wrong, sorry", "apologies",
    ),
    "compliment": (
        "you are great", "you are nice", "you are very kind", "you are smart", "you are clever",
        "good job", "well done", "nice work", "I like you", "you are a good helper",
        "you are helpful", "you are the best", "that was a good answer", "great answer",
        "good answer", "you did well", "you are so good", "what a good answer", "you are wonderful",
        "I love your answers", "you are a good friend", "very good", "well answered", "nice answer",
    ),
    "your_name": (
        "what is your name?", "what's your name?", "who are you?", "your name?",
        "tell me your name", "please tell me your name", "can you tell me your name?",
        "what are you called?", "how are you called?", "do you have a name?", "may I ask your name?",
        "what should I call you?", "what can I call you?", "what do people call you?",
        "I am {name}. what is your name?", "I'm {name}, and who are you?", "which name do you have?",
        "who am I talking to?", "with whom am I talking?", "what name do you go by?",
        "I forgot your name", "say your name", "could I know your name?", "is your name Pawl?",
        "are you Pawl?", "introduce yourself",
    ),
    "what_are_you": (
        "what are you?", "are you a robot?", "are you a person?", "are you human?",
        "are you a computer?", "are you a machine?", "are you real?", "are you a program?",
        "what kind of thing are you?", "what sort of program are you?", "are you a man or a machine?",
        "am I talking to a person?", "am I talking to a computer?", "is this a robot?",
        "are you an AI?", "are you a language model?", "are you alive?", "tell me what you are",
        "what exactly are you?", "are you a person or a program?",
    ),
    "what_can_you_do": (
        "what can you do?", "what can you do for me?", "what do you know?", "how can you help me?",
        "what can I ask you?", "what can you help me with?", "can you help me?", "help", "help!",
        "what are you able to do?", "what are you good at?", "what may I ask?",
        "what questions can you answer?", "what should I ask you?", "which topics do you know?",
        "what are your skills?", "tell me what you can do", "what are you for?", "I need help",
        "I need your help", "please help me", "will you help me?", "what can we talk about?",
    ),
    "birthday": (
        "today is my birthday", "it is my birthday", "it's my birthday today!", "I have my birthday today",
        "my birthday is today", "guess what, it is my birthday", "today I turn {small}",
        "I am {small} years old today", "I celebrate my birthday today", "it is my special day, my birthday",
    ),
    "happy_user": (
        "I am happy", "I am very happy today", "I feel good", "I feel great", "I had a good day",
        "today was a great day", "I am glad", "life is good", "I won a game", "I passed my test",
        "I have good news", "I am fine", "I am fine, thanks", "I am well", "I am doing well",
        "I feel happy today", "my day was good", "I am in a good mood", "everything is great",
    ),
    "sad_user": (
        "I am sad", "I am very sad today", "I feel bad", "I feel sad", "I had a bad day",
        "today was a bad day", "I am not well", "I am unhappy", "I am ill", "I am sick",
        "I lost my game", "I lost my {thing}", "I am lonely", "I have bad news", "I failed my test",
        "my day was bad", "I am in a bad mood", "I feel lonely", "nothing goes well",
    ),
}  # fmt: skip

_WEIGHT = {"hello": 0.9, "how_are_you": 0.5, "thanks": 0.5, "your_name": 0.5, "goodbye": 0.4}

RELATIONS = tuple(
    Relation(
        name=f"manners {intent}",
        topic=TOPIC,
        facts=(make_fact(TOPIC, intent, {}, known.accept[0], *known.accept[1:]),),
        answer_slot="",
        bare=True,
        directs=_SAYINGS[intent],
        replies=known.replies,
        weight=_WEIGHT.get(intent, 0.35),
    )
    for intent, known in MANNERS.items()
)
