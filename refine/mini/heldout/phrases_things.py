"""How people ask about units, colours, planets and science. The format is explained in `phrases`."""

TEXT = """
# units_in
? How many {ys} do I need to make {ax}?
? {Ax} is as much as how many {ys}?
? How many {ys} go into {ax}?
? If you split {ax} into {ys}, how many do you get?
? {Ax} is the same as how many {ys}?
? What is the number of {ys} in {ax}?
! Turn {ax} into {ys} for me. How many is that?
! How many {ys} is {ax}, please?
! Tell me the number of {ys} that make up {ax}.
! I have {ax}. How many {ys} is that?
> The number of {ys} in {ax} is || {a}.
> If you count the {ys} in {ax}, you get || {a}.
> To make {ax}, the number of {ys} you need is || {a}.
= The number of {ys} in {ax} is {a}.
= {Ax} has {a} {ys}.

# measure_of
? What do we measure in {xs}?
? What can you tell with {xs}: length, weight, time, volume or temperature?
? {Xs} are used to say how much of what?
? The {x} is a unit of what?
? For what do people use the unit {x}?
! Tell me what is measured in {xs}.
! I see the word {x} on a list of units. What does it measure?
> The {x} is a unit of || {a}.
> When people count {xs}, they measure || {a}.
> In school we learned that {xs} are used for || {a}.
= The {x} is a unit of {a}.
= We measure {a} in {xs}.

# use_of
? What can I find out with {ax}?
? For what is {ax} good: what does it measure?
? What does {ax} show us?
? Somebody gives you {ax}. What can you measure with it?
! Tell me what {ax} is used to measure.
! I found {ax} in a box. What does it show?
> With {ax} you can find out the || {a}.
> People use {ax} to find the || {a}.
= {Ax} shows the {a}.
= People use {ax} to find the {a}.

# tool_for
? Which tool do I take to find out the {x}?
? What do you need if you want to measure {x}?
? With what thing can we find the {x}?
? Which tool shows the {x}?
! Tell me which tool helps with finding the {x}.
! I want to know the {x}. What tool should I use?
> To find out the {x}, you take || {an}.
> The tool that shows the {x} is called || {an}.
= The tool for {x} is {an}.
= To find the {x} we use {an}.

# symbol_of
? How is the unit {x} written in short?
? Which letters stand for {x}?
? What is the short way to write {x}?
! Give me the short form of {x}.
! How do I write {x} with fewer letters?
> The short way to write {x} is || {a}.
> Instead of the long word {x}, we can write || {a}.
= The short form of {x} is {a}.
= We write {a} for {x}.

# multiple_units
? How many {ys} are there in {n} {xs}?
? {n} {xs} are as long as how many {ys}?
? If something takes {n} {xs}, how many {ys} is that?
! Turn {n} {xs} into {ys}.
! I have to wait for {n} {xs}. How many {ys} is that?

# colour_of
? If you paint {x}, which colour do you take?
? In which colour do we see {x}?
? Which colour would you use for {x} in a picture?
? What is the usual colour of {x}?
? {X} has which colour?
? What colour do most people think of for {x}?
? You look at {x}. Which colour is in front of your eyes?
! Tell me the colour of {x}.
! I am painting {x}. Which colour do I need?
! Which colour goes with {x}?
! I want to draw {x}. Give me the right colour.
> In the picture, {x} is painted in its usual colour, which is || {a}.
> The usual colour of {x} is || {a}.
> When you look at {x}, the colour you see is || {a}.
> Mia paints {x}, so the colour that she takes is || {a}.
= The colour of {x} is {a}.
= {X} is {a}.

# mix_of
? Which colour comes out when I put {x} and {y} paint together?
? I have {x} paint and {y} paint. What colour do I get from both?
? If {x} and {y} are mixed, what colour is the result?
? What new colour do you make from {x} and {y}?
! Mix {x} and {y} for me. What colour do I see?
! I stirred {x} paint into {y} paint. Which colour is it now?
! What happens to the colour when {x} meets {y}?
> When you put {x} and {y} paint together, you get || {a}.
> Leo mixed {x} with {y}. The new colour was || {a}.
> The colour made from {x} and {y} is || {a}.
= {X} and {y} make {a}.
= If you mix {x} with {y}, you get {a}.

# pick_colour
? Which of these things is {x}?
? Which one of the following has the colour {x}?
? Only one of these things is usually {x}. Which one?
? Find the thing with the colour {x}. Which one is it?

# pick_primary
? Which of these is a primary colour?
? Only one of these is a primary colour. Which one?

# pick_rainbow
? Which of these colours can you see in the rainbow?
? Only one of these colours is in the rainbow. Which one?

# planet_order
? If you count the planets from the sun, which one is the {x}?
? Which planet is the {x} one from the sun?
? What is the name of the planet in the {x} place from the sun?
? Start at the sun and count. Which planet comes {x}?
? Which planet takes the {x} place, counted from the sun?
! Name the {x} planet, counted from the sun.
! I count the planets from the sun. What is the {x} one called?
> If you count the planets from the sun, the {x} one is || {a}.
> Counted from the sun, the planet in the {x} place is || {a}.
> The name of the planet that comes {x} from the sun is || {a}.
= The {x} planet from the sun is {a}.
= {a} is the {x} planet from the sun.

# order_of
? Counted from the sun, what number is the planet {x}?
? If the planet next to the sun is number 1, what number is {x}?
? Which place does {x} have when we count the planets from the sun?
! Tell me the place of {x} when you count from the sun.
! What number does the planet {x} have, counted from the sun?

# planet_title
? What is {x} called?
? Which of the planets is {x}?
? What name does {x} have?
? Do you know which one is {x}?
? People talk about {x}. Which planet do they mean?
! Name {x}.
! Tell me the name of {x}.
! I read about {x}. What is its name?
! My question is about space: which one is {x}?
> Among the planets, {x} is called || {a}.
> In the book about space, I read that {x} has the name || {a}.
> When people talk about {x}, they mean || {a}.
> The name of {x} is || {a}.
= The name of {x} is {a}.
= {a} is {x}.

# planet_kind
? What sort of planet is {x}?
? Is {x} made of rock, gas or ice?
? Which kind of planet would you call {x}?
? If you read about {x} in a book, what kind of planet is it?
! Tell me what kind of planet {x} is.
! Rock, gas or ice: what is the planet {x}?
> In books about space you can read that {x} is || {an}.
> Of the kinds of planets, {x} is || {an}.
= {x} is {an}.
= The planet {x} is {an}.

# pick_kind
? Which of these is {x}?
? Find {x} among these planets. Which one is it?

# n_planets
? How many planets go around the sun?
? What is the number of planets that move around our sun?
? If you count all planets of the sun, what number do you get?
! Count the planets of our sun for me.
! Tell me how many planets there are.
> The number of planets that go around the sun is || {a}.
> If you count all planets of our sun, you get || {a}.
= The number of planets around the sun is {a}.
= The sun has {a} planets.

# sky_is
? What do we call {x}: a star, a planet or a moon?
? What kind of thing in the sky is {x}?
! Tell me what {x} is: a star, a planet or a moon?
> Of all things in the sky, {x} is || {a}.
= {X} is {a}.

# goes_around
? What does {x} travel around?
? What is in the middle of the path of {x}?
? Around what does {x} turn on its way through space?
! Tell me what {x} circles.
> On its way through space, {x} goes around || {a}.
= {X} goes around {a}.

# state_of
? Solid, liquid or gas: what is {x}?
? In what state is {x}: is it solid, liquid or a gas?
? Would you call {x} a solid, a liquid or a gas?
? Which of the three states of matter does {x} have?
! Tell me if {x} is a solid, a liquid or a gas.
! For my homework: is {x} solid, liquid or gas?
! Is {x} a liquid, a gas or a solid?
= {X} is a {a}.
= In everyday life, {x} is a {a}.

# pick_state
? Which of these is a {x}?
? Only one of the following is a {x}. Which one?
? Find the {x} in this list. Which one is it?

# made_of
? From what do people make {x}?
? Which material do you need for {x}?
? What do you need if you want to make {x}?
? What is used to make {x}?
? Out of what {is} {x} made?
! Tell me what {x} {is} made from.
! I want to make {x}. What do I need?
! Which thing {is} {x} mostly made of?
> To make {x}, you need || {a}.
> People who make {x} start with || {a}.
> The main thing that you need for {x} is || {a}.
= {X} {is} made of {a}.
= To make {x}, people use {a}.

# sense_organ
? Which part of the body do we need to {x}?
? With what part of your body can you {x} things?
? People {x} with what part of the body?
? What do you use when you {x} something?
! Tell me the part of the body that lets us {x}.
! I can {x} things. Which part of my body does that?
> The part of the body that lets us {x} is the || {a}.
> When people {x} things, they use the || {a}.
= People {x} with the {a}.
= To {x}, people use the {a}.

# organ_for
? Which part of the body helps us to {x}?
? Thanks to which part of the body can we {x}?
? What in our body is there to {x}?
! Name the part of the body that is there to {x}.
! Which part of my body do I use to {x}?
> The part of the body that is there to {x} is called the || {a}.
> In our body, the job to {x} is done by the || {a}.
= The {a} helps us to {x}.
= The part of the body used to {x} is the {a}.

# plant_part
? Which part of a plant is there to {x}?
? What does a plant use to {x}?
? A plant has to {x}. Which part of it does that?
! Name the part of a plant that helps it to {x}.
> The part of a plant that is there to {x} is called the || {a}.
> To {x}, a plant uses the || {a}.
= A plant uses the {a} to {x}.
= The part of a plant that is there to {x} is the {a}.

# pick_floats
? Which of these stays on top of the water?
? You throw these into a lake. Which one does not go under?
? Only one of these floats. Which one?

# pick_sinks
? Which of these goes down to the bottom of the lake?
? Only one of these sinks in water. Which one?
? You throw these into a pool. Which one goes under?

# pick_magnetic
? Which of these does a magnet pull?
? Only one of these sticks to a magnet. Which one?
? You hold a magnet next to these things. Which one does it attract?

# number_of
? What is the number of {y} that {x} has?
? How many {y} can you count on {x}?
? If you count the {y} of {x}, what number do you get?
? {X} has how many {y}?
! Tell me how many {y} {x} has got.
! Count the {y} of {x} for me.
! I need the number of {y} of {x}.
> The number of {y} of {x} is || {a}.
> If you count the {y} of {x}, you get || {a}.
= {X} has {a} {y}.
= The number of {y} of {x} is {a}.

# water_degrees
? At how many degrees does water begin to {x}?
? How many degrees do you need for water to {x}?
! Tell me at how many degrees water starts to {x}.
! I watch the thermometer. At what number does water {x}?
> Water begins to {x} when the number of degrees is || {a}.
= Water begins to {x} at {a} degrees.
= The number of degrees at which water begins to {x} is {a}.
"""
