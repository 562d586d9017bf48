"""Words: opposites and plurals."""

_PAIRS = """
hot cold,big small,tall short,fast slow,happy sad,day night,up down,left right,open closed,full empty,
old new,hard soft,light heavy,rich poor,wet dry,early late,good bad,right wrong,loud quiet,clean dirty,
strong weak,thick thin,wide narrow,deep shallow,high low,near far,first last,begin end,buy sell,
give take,push pull,come go,win lose,love hate,laugh cry,remember forget,true false,safe dangerous,
easy difficult,sweet sour,sharp blunt,smooth rough,bright dark,young aged,alive dead,awake asleep,
inside outside,above below,front back,top bottom,before after,always never,many few,more less,
same different,brave cowardly,kind cruel,polite rude,lazy busy,noisy silent,ancient modern,
beautiful ugly,cheap expensive,calm nervous,accept refuse,arrive leave,ask answer,build destroy,
catch throw,float sink,rise fall,find miss,friend enemy,guest host,teacher student,king queen,
winter summer,east west,north south,black white,female male,public private,simple complex,
possible impossible,visible invisible,legal illegal,honest dishonest,lucky unlucky,tight loose,
straight crooked,raw cooked,fresh stale,generous greedy,proud humble,victory defeat,success failure,
increase decrease,arrival departure,entrance exit,question reply,heaven hell,war peace,
maximum minimum,plus minus,import export,include exclude,guilty innocent,attack defend,
freeze melt,lend borrow,save spend,frequent rare,wild tame,natural artificial,
temporary permanent,optimist pessimist,odd even,major minor
"""

# A word that stands in two pairs has two right opposites: both are accepted.
OPPOSITES: tuple[tuple[str, str], ...] = tuple(
    (pair.split()[0], pair.split()[1])
    for pair in _PAIRS.replace("\n", "").split(",")
    if pair.strip()
)


def opposites_of(word: str) -> tuple[str, ...]:
    """Every word paired with `word`."""
    found = [b for a, b in OPPOSITES if a == word] + [a for a, b in OPPOSITES if b == word]
    return tuple(found)


_PLAIN = """
cat dog cow horse goat pig lion tiger bear duck hen owl eagle frog snake bee ant spider book table
chair lamp door window car train boat plane road river lake sea mountain tree flower
apple banana orange lemon carrot onion egg cake spoon plate cup bottle bag shirt shoe sock hat coat
ring song game ball doll kite drum guitar pen pencil paper letter word page map coin bank shop school
teacher doctor farmer singer friend girl boy king queen house garden bridge tower castle island cloud
star planet moon storm hand arm leg ear nose finger toe bone heart clock phone computer wheel nail
hammer rope sister brother uncle cousin parent student robot rocket ticket blanket pillow mirror
"""
_ES = """
box fox bus glass class dress bench beach church watch dish brush bush wish match lunch branch witch
kiss boss cross tax peach sandwich ostrich
"""
_IES = """
baby city country lady party story berry cherry fly family army puppy penny body copy pony
"""


# Three rules: +s; +es after s, x, ch, sh; consonant + y becomes ies.
PLURALS_REGULAR: dict[str, str] = {
    **{word: word + "s" for word in _PLAIN.split()},
    **{word: word + "es" for word in _ES.split()},
    **{word: word[:-1] + "ies" for word in _IES.split()},
}

PLURALS_IRREGULAR: dict[str, str] = {
    "child": "children",
    "man": "men",
    "woman": "women",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "leaf": "leaves",
    "knife": "knives",
    "wolf": "wolves",
    "wife": "wives",
    "life": "lives",
    "half": "halves",
    "shelf": "shelves",
    "thief": "thieves",
    "loaf": "loaves",
    "calf": "calves",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "hero": "heroes",
    "echo": "echoes",
    "cactus": "cacti",
}
