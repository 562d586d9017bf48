"""How people ask about the one-off facts of science. The format is explained in `phrases`.

The name of a relation is "line_" and the key in `SCIENCE_LINES`.
"""

TEXT = """
# line_breathe
? Which gas in the air do we need to stay alive?
? What gas do your lungs take from the air?
? Nobody can live without breathing one gas. Which one?
! Name the gas that a person has to breathe.
! What do we breathe in to live? I mean the gas.
> When we breathe in, the gas our body needs is || {a}.
> No person can live without a gas called || {a}.
= The gas that people need to breathe is {a}.
= People breathe {a} to stay alive.

# line_plants_gas
? Which gas do green plants take out of the air?
? What gas does a plant take in?
? Plants need one gas from the air to grow. Which one?
! Name the gas that plants take from the air.
> The gas that green plants take out of the air is || {a}.
> To grow, a plant takes in a gas called || {a}.
= Plants take in {a}.
= The gas that plants take out of the air is {a}.

# line_light
? What gives light to our earth in the daytime?
? From where does the light of day come?
? Where does all the daylight on the earth come from?
! Tell me what gives the earth its light.
> The light that we see in the daytime comes from || {a}.
> It is day on the earth because of the light from || {a}.
= The earth gets its light from {a}.
= Daylight comes from {a}.

# line_freeze
? You put water in a very cold place and it freezes. What is it then?
? What does water turn into when it gets very cold?
? Frozen water has its own name. What is it?
! Tell me what water is called when it is frozen.
> In winter the water in the lake freezes and becomes || {a}.
> When water gets very cold, it turns into || {a}.
= When water freezes, it becomes {a}.
= Frozen water is {a}.

# line_boil
? What comes out of a pot when the water boils?
? Water is boiling on the fire. What does it turn into?
? What does water become if you make it very hot?
! Tell me what boiling water turns into.
> When the water in the pot boils, it becomes || {a}.
> Very hot water turns into || {a}.
= When water boils, it becomes {a}.
= Boiling water turns into {a}.

# line_gravity
? Why does a ball come down again: which force pulls it?
? Which force keeps us on the ground?
? An apple falls from a tree. What is the name of the force that pulls it?
! Name the force that makes things fall down.
> A ball that is thrown up comes down again because of || {a}.
> The force that keeps us on the ground is called || {a}.
= The force that pulls things down is {a}.
= Things fall down because of {a}.

# line_shadow
? Something stands in the light. What do you see on the ground behind it?
? You stand in the sun and block the light. What dark shape do you see on the ground?
? What do we see on the wall when a hand blocks the light of a lamp?
! Tell me what appears where the light is blocked.
> When you stand in the light, behind you on the ground you see || {a}.
> A hand blocks the light of the lamp, and on the wall appears || {a}.
= When light is blocked, {a} appears.
= Where something blocks the light, we see {a}.

# line_echo
? You shout in the mountains and hear your voice again. What is that called?
? What is the name for a sound that comes back to you?
? How do we call it when a sound returns from a wall?
! Give me the word for a sound that comes back.
> He shouted in the mountains, and back came || {a}.
> A sound that returns to you is called || {a}.
= A sound that comes back is called {a}.
= When you shout in the mountains, you may hear {a}.

# line_hardest
? Which material in nature is harder than all others?
? What is the name of the hardest thing found in nature?
? No other natural material is as hard. What is it?
! Name the hardest material in nature.
> Of all materials in nature, the hardest is || {a}.
> No other natural material is as hard as || {a}.
= The hardest natural material is {a}.
= In nature, nothing is harder than {a}.

# line_bees
? What sweet food do we get from bees?
? Bees work all summer. What do they make?
? What do bees keep in their hive for us to eat?
! Tell me what bees produce.
> The bees work all summer, and in the hive they make || {a}.
> The sweet food that comes from bees is || {a}.
= Bees make {a}.
= From bees we get {a}.

# line_hens
? What do we get from hens for breakfast?
? What does a farmer find in the nest of a hen?
? What does a hen lay?
! Tell me what a hen lays.
> The farmer looks into the nest of the hen and finds || {a}.
> From hens we get || {a}.
= Hens lay {a}.
= From hens we get {a}.

# line_cows
? Which drink do we get from a cow?
? What does a farmer get when he goes to the cows with a bucket?
? What white drink comes from cows?
! Name the drink that a cow gives us.
> The farmer goes to the cows every morning to get || {a}.
> The drink that we get from a cow is || {a}.
= Cows give us {a}.
= The drink that comes from cows is {a}.

# line_sheep
? What do we get from sheep to make warm clothes?
? What does a farmer cut from a sheep?
? From sheep we get something for clothes. What is it?
! Tell me what sheep give us for our clothes.
> To make warm clothes, we take from sheep their || {a}.
> Every year the farmer cuts from his sheep the || {a}.
= Sheep give us {a}.
= For warm clothes, people take {a} from sheep.

# line_melt
? What does ice do when the sun shines on it?
? I leave ice in the warm sun. What happens?
? What happens when ice gets warm?
! Tell me what ice does in the sun.
> When the sun shines on ice, || {a}.
> You leave a piece of ice in the sun, and soon || {a}.
= When ice lies in the sun, {a}.
= Ice gets warm in the sun and {a}.

# line_tallest
? Which animal is taller than all others?
? What animal has its head higher than any other?
? No animal is as tall. Which one is it?
! Name the animal that is the tallest of all.
> Of all the animals, the tallest is || {a}.
> No other animal is as tall as || {a}.
= The tallest animal is {a}.
= No animal is taller than {a}.

# line_largest
? Which animal is bigger than every other?
? What is the biggest animal in the world?
? No animal is as large. Which one is it?
! Name the animal that is the biggest of all.
> Of all the animals in the world, the largest is || {a}.
> No other animal is as large as || {a}.
= The largest animal is {a}.
= No animal is larger than {a}.

# line_fastest
? Which animal runs faster than all others?
? On land, what animal is the quickest?
? Which animal would win a race on land?
! Name the animal that runs the fastest.
> Of all the animals on land, the fastest is || {a}.
> On land, no animal is as fast as || {a}.
= The fastest land animal is {a}.
= On land, no animal runs faster than {a}.

# line_night
? What big light do we see in the sky when it is night?
? You look up at night and see something round and bright. What is it?
? It is dark outside. What shines up there?
! Tell me what shines in the night sky.
> At night we look up, and in the sky shines || {a}.
> It is night, and the big light in the sky is || {a}.
= At night, {a} shines in the sky.
= The big light in the night sky is {a}.

# line_sea
? What is in the water of the sea that you can taste?
? Which thing gives sea water its taste?
? Sea water tastes different from rain water. What is in it?
! Tell me what gives the sea its taste.
> The water of the sea tastes that way because it has a lot of || {a}.
> Sea water is not good to drink, because in it there is || {a}.
= Sea water gets its taste from {a}.
= In sea water there is a lot of {a}.

# line_thunder
? First there is lightning. What do we hear then?
? What is the loud noise in a storm called?
? In a storm you see a flash of light and then hear something. What is it?
! Tell me what we hear when there was lightning.
> First we see the lightning, and then we hear the || {a}.
> The loud noise in a storm is called || {a}.
= After lightning we hear {a}.
= The loud noise in a storm is {a}.
"""
# key -> wrong answers of the same kind
OTHERS: dict[str, tuple[str, ...]] = {
    "breathe": ("carbon dioxide", "helium", "steam"),
    "plants_gas": ("helium", "gold", "smoke"),
    "light": ("the moon", "the sea", "the clouds"),
    "freeze": ("steam", "oil", "sand", "salt"),
    "boil": ("ice", "snow", "oil", "salt"),
    "gravity": ("light", "sound", "heat", "colour"),
    "shadow": ("an echo", "a colour", "a cloud", "a star"),
    "echo": ("a shadow", "a song", "a letter", "a picture"),
    "hardest": ("gold", "wood", "glass", "wax"),
    "bees": ("milk", "eggs", "wool", "bread"),
    "hens": ("milk", "honey", "wool", "seeds"),
    "cows": ("tea", "juice", "coffee", "wine"),
    "sheep": ("feathers", "honey", "eggs", "scales"),
    "melt": ("it boils", "it grows", "it burns", "it gets harder"),
    "tallest": ("the elephant", "the horse", "the lion", "the bear"),
    "largest": ("the elephant", "the horse", "the lion", "the shark"),
    "fastest": ("the elephant", "the horse", "the turtle", "the cow"),
    "night": ("the sun", "the rainbow", "the grass", "the sea"),
    "sea": ("sugar", "milk", "honey", "oil"),
    "thunder": ("music", "a bell", "a whistle", "the alarm"),
}
