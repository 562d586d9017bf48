"""How people ask about countries and animals. The format is explained in `phrases`."""

TEXT = """
# capital_of
? {X} has many cities. What is the capital called?
? If I fly to {x}, which city is the capital there?
? What do people call the capital of {x}?
? Which city is marked as the capital on a map of {x}?
? My teacher asked for the capital of {x}. Which city is it?
? What is the name of the capital city in {x}?
? What city serves as the capital of {x}?
? Which of the cities in {x} is the capital?
? A friend lives in the capital of {x}. In which city does she live?
? Every country has a capital. Which one belongs to {x}?
! Can you name the capital of {x} for me?
! Quick question: the capital of {x}?
! I forgot the capital of {x}. Can you help?
! We are planning a trip to {x}. What is its capital?
! I need the capital of {x} for my homework.
! Do you happen to know the capital of {x}?
! {X}: what is the capital?
! Which city should I write down as the capital of {x}?
> The capital city of {x} is called || {a}.
> We took a train to the capital of {x}, which is || {a}.
> On the map of {x}, the capital is marked with a star, and its name is || {a}.
> My aunt lives in {x}, in the capital, so her city is || {a}.
> If somebody asks for the capital of {x}, the answer is || {a}.
> The quiz asked for the capital of {x}. Anna wrote || {a}.
= The capital of {x} is {a}.
= {a} is the capital of {x}.
= {X} has {a} as its capital.

# country_of
? {x} is the capital of what country?
? If you walk through {x}, you are in the capital of which country?
? Of which country is {x} the capital city?
? {x} is a capital city. To which country does it belong?
? A plane lands in {x}. Of which country is this the capital?
? Which country has its capital in {x}?
? Somebody told me that {x} is a capital. Of which country?
! {x} is a capital, but I forgot the country. Which one is it?
! Which country is it that has {x} as its capital? Please tell me.
! Can you say which country {x} is the capital of?
! I am in {x}. This city is the capital of which country?
> {x} is the capital city of || {a}.
> A person who stands in {x} is in the capital of || {a}.
> {x} is a big city. It is the capital of || {a}.
> The country that has {x} as its capital is || {a}.
= {x} is the capital of {a}.
= The capital of {a} is {x}.

# continent_of
? On which continent would I find {x}?
? {X} is a country on which continent?
? {X} is a piece of which continent?
? Which part of the world is {x} in: what is the continent?
? I want to visit {x}. Which continent do I have to travel to?
? What continent is the country of {x} part of?
! Please tell me the continent of {x}.
! Which continent is {x} on?
! Can you say on what continent {x} lies?
! Where in the world is {x}? I mean the continent.
> {X} is a country in || {a}.
> The continent on which {x} lies is || {a}.
> People who travel to {x} go to the continent of || {a}.
> On a map of the world, {x} is a part of || {a}.
= {X} is in {a}.
= {X} is a country in {a}.

# young_of
? What is a baby {x} called?
? What name do we give to a young {x}?
? When {ax} has a baby, what is the baby called?
? What do you call the child of {ax}?
? The little one of {ax} has a special name. What is it?
? Which word means a very young {x}?
? How do we call {ax} that was just born?
! Tell me the word for a baby {x}.
! My child wants to know what a little {x} is called.
! What is the right name for the baby of {ax}?
! Name the young of {ax}.
! I saw {ax} with its baby. What is the baby called?
> A baby {x} is called || {an}.
> When {ax} has a little one, we call it || {an}.
> The word for a very young {x} is || {a}.
> The child of {ax} is || {an}.
= A young {x} is called {an}.
= A baby {x} is {an}.

# adult_of
? {Ax} is the baby of which animal?
? What does {ax} become when it is grown up?
? Which animal was once {ax}?
? Into which animal does {ax} grow?
? Which grown animal is the mother of {ax}?
! Tell me which animal has a baby called {ax}.
! {Ax} grows up and becomes what animal?
! I read about {ax}. The baby of which animal is that?
! Which animal is {ax} going to be one day?
> {Ax} is a baby. When it grows up, it will be || {an}.
> The mother of {ax} is || {an}.
> {Ax} grows up to become || {an}.
> The word {x} means the young of || {an}.
= {Ax} is a young {a}.
= {Ax} grows up to be {an}.

# sound_of
? Which sound comes from {ax}?
? What noise would {ax} make?
? How does {ax} sound?
? What do you hear when {ax} is near?
? If {ax} wants to be heard, which sound does it make?
? What is the sound of {ax} called?
! Tell me the noise that {ax} makes.
! Can you say what sound I hear from {ax}?
! My little brother asks what sound {ax} makes.
! What would {ax} say?
> The sound that {ax} makes is called || {an}.
> When {ax} makes a noise, we hear || {an}.
> Listen to {ax}: the sound is || {an}.
= The sound of {ax} is {an}.
= When {ax} makes a noise, we hear {an}.

# legs_of
? How many legs can you count on {ax}?
? On how many legs does {ax} walk, if it has any?
? What is the number of legs of {ax}?
? If you draw {ax}, how many legs must you draw?
? How many legs are there on {ax}?
? {Ax} has how many legs?
! Tell me how many legs {ax} has got.
! Count the legs of {ax} for me.
! I want to draw {ax}. How many legs does it need?
! Number of legs of {ax}?
> The number of legs of {ax} is || {a}.
> Tom draws {ax}. The number of legs he has to draw is || {a}.
> If you count the legs of {ax}, you get || {a}.
= The number of legs of {ax} is {a}.
= {Ax} has {a} legs.

# group_of
? To which group of animals does {ax} belong?
? What sort of animal would you call {ax}?
? Is {ax} a mammal, a bird, a fish or something else?
? In which animal group do we put {ax}?
? What type of animal is {ax}?
? Which class of animals is {ax} in?
! Tell me what group of animals {ax} is part of.
! I wonder what kind of creature {ax} is. Which animal group?
! Which animal group is right for {ax}?
! {Ax}: mammal, bird, reptile, fish or what?
> Among the animals, {ax} is part of a group. It is || {an}.
> We learned at school that {ax} belongs to a group. It is || {an}.
> If you look at the groups of animals, {ax} is || {an}.
= {Ax} is {an}.
= {Ax} is a kind of {a}.

# home_of
? In what place does {ax} live?
? Where is the home of {ax}?
? Where would you look for {ax}?
? Where does {ax} have its home?
? At what place can you find {ax}?
? Where is {ax} at home?
! Tell me where {ax} makes its home.
! Where should I go to see {ax}?
! I want to find {ax}. Where does it live?
! Name the place where {ax} lives.
> The home of {ax} is || {a}.
> If you want to see {ax}, look || {a}.
> {Ax} has its home || {a}.
= {Ax} lives {a}.
= The home of {ax} is {a}.

# diet_of
? What is the food of {ax}?
? What does {ax} like to eat?
? Which food does {ax} live on?
? When {ax} is hungry, what does it look for?
? What does {ax} have for dinner?
? What kind of food would you find in the stomach of {ax}?
! Tell me what {ax} eats.
! What food is right for {ax}?
! I have to feed {ax}. What does it eat?
! Can you say what {ax} feeds on?
> The food of {ax} is || {a}.
> When {ax} is hungry, it looks for || {a}.
> {Ax} is an animal that lives on || {a}.
= {Ax} eats {a}.
= The food of {ax} is {a}.

# cover_of
? What is the body of {ax} covered with?
? What would you feel if you touched {ax}?
? What covers the outside of {ax}?
? What does {ax} have on its body?
? What is on the outside of {ax}?
! Tell me what covers the body of {ax}.
! What does {ax} wear on its body?
! What kind of cover does {ax} have?
> The body of {ax} is covered with || {a}.
> If you touch {ax}, you feel || {a}.
> On the outside, {ax} has || {a}.
= {Ax} is covered with {a}.
= The body of {ax} is covered with {a}.

# pick_group
? Which of these animals is {ax}?
? Which one of the following is {ax}?
? Find the animal that is {ax}. Which one is it?
? Only one of these is {ax}. Which one?
= The {a} is {ax}.
= One animal that is {ax} is the {a}.

# pick_legs
? Which of these animals has {x} legs?
? Only one of these animals walks on {x} legs. Which one?
? Find the animal with {x} legs. Which one is it?

# pick_continent
? Which of these countries is in {x}?
? Which one of the following countries can you visit in {x}?
? Only one of these countries is in {x}. Which one?
"""
