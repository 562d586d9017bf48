"""How people ask about words, numbers and the calendar. The format is explained in `phrases`."""

TEXT = """
# opposite_of
? Which word means the opposite of "{x}"?
? What word says just the other way round than {x}?
? If something is not {x} but the contrary, what is it?
? {X} and what other word make a pair of opposites?
? Which word is the contrary of {x}?
? What would you say for the reverse of {x}?
? Find the word that is the opposite of {x}. What is it?
? The opposite of {x} is which word?
! Give me a word that means the opposite of {x}.
! I need the opposite of the word {x}.
! What is the other side of {x}? I am looking for the opposite.
! Can you tell me the contrary of {x}?
! My sister says {x}. I want to say the opposite. Which word is it?
! Opposite of {x}, please!
> The word {x} has an opposite, which is || {a}.
> If it is the opposite of {x}, then it is || {a}.
> Two words that are opposites are {x} and || {a}.
> I said {x}, but he said the opposite word, which is || {a}.
> The contrary of {x} is || {a}.
= The opposite of {x} is {a}.
= {X} is the opposite of {a}.
= The words {x} and {a} are opposites.

# plural_of
? I have one {x}, you have two. Two what?
? How do you write the word {x} when there are many?
? What is the form of "{x}" for more than one?
? What word do we use for more than one {x}?
? One {x}, three ... what?
? How does the noun {x} change when there are several?
? Which word is right for many of them: one {x}, many what?
? If there is not just one {x} but ten, which word do I use?
! Give me the plural form of {x}.
! Please put the word {x} into the plural.
! There is more than one {x}. How do I say that in one word?
! Help me with my spelling: one {x}, two ...?
! How would I say {x} in the plural?
> There is one {x} here, and over there are two || {a}.
> In the plural, the word {x} becomes || {a}.
> Yesterday I saw one {x}, but today I saw five || {a}.
> The word for more than one {x} is || {a}.
> First there was only one {x}. Now there are many || {a}.
= The plural of {x} is {a}.
= We say one {x} and two {a}.
= The word for more than one {x} is {a}.

# sum
? How much do you get when you put {x} and {y} together?
? If you add {y} to {x}, what is the result?
? I have {x} apples and get {y} more. How many apples do I have?
? What do {x} and {y} make when you add them?
? Tom is {x} years old. How old will he be in {y} years?
? There are {x} birds in a tree and {y} more come. How many birds are there now?
? What number do you get from {x} + {y}?
? Which number is {y} more than {x}?
? A box holds {x} red balls and {y} blue balls. How many balls are in the box?
! Please work out {x} plus {y} for me.
! Can you do the sum {x} + {y}?
! {x} + {y} = ?
! Help me with my sums: {x} and {y} together are how many?
! Add {x} and {y}, please.
! I paid {x} coins and then {y} coins. How many coins is that?
> Anna has {x} books and buys {y} more. Now the number of her books is || {a}.
> If you add {x} and {y}, you get || {a}.
> The result of {x} + {y} is || {a}.
> {x} plus {y} makes || {a}.
> There were {x} people on the bus and {y} more got on. Now the number of people is || {a}.

# difference
? How much is left when you take {y} away from {x}?
? I had {x} sweets and ate {y}. How many sweets are left?
? If you subtract {y} from {x}, what do you get?
? What is {x} less {y}?
? There were {x} people on a bus and {y} got off. How many stayed?
? Which number is {y} less than {x}?
? What number do you get from {x} - {y}?
? A shop has {x} loaves and sells {y}. How many loaves are left?
! Please work out {x} minus {y} for me.
! Can you take {y} away from {x}?
! {x} - {y} = ?
! I have {x} coins and give away {y}. How many do I keep?
! Help me: {x} take away {y}?
> Ben had {x} balls and lost {y}. The number of balls he has now is || {a}.
> If you take {y} away from {x}, you get || {a}.
> The result of {x} - {y} is || {a}.
> {x} minus {y} makes || {a}.

# next_number
? Which number follows in this row: {x}?
? Look at these numbers: {x}. What number should come after them?
? {x}: what is the next number?
? Count on like this: {x}. Which number comes now?
? What number goes on with this list: {x}, ...?
? Which number is missing at the end: {x}, ?
? The numbers go {x}. How does it go on?
! Carry on with this row of numbers: {x}.
! {x}, and then?
! Please tell me the number after these: {x}.
! Find the next number for me: {x}, ...
! I am counting {x}. What do I say now?
> The numbers go on in the same way: {x}, || {a}.
> Anna counts in steps: {x}, and then || {a}.
> In the row {x}, the next number is || {a}.
> After the numbers {x} comes || {a}.

# day_after
? If today is {x}, what day will it be tomorrow?
? Which day follows right after {x}?
? It is {x} today. What is the name of tomorrow?
? {X} is over. Which day begins now?
? When {x} ends, what day starts?
? What is the next day of the week if today is {x}?
! Today is {x}. Tell me what tomorrow is.
! I know today is {x}, but what comes tomorrow?
! Which day do we get once {x} is over?
> Today is {x}, so tomorrow will be || {a}.
> When {x} is over, the next day is || {a}.
> In every week, {x} is followed by || {a}.
= The day after {x} is {a}.
= If today is {x}, tomorrow is {a}.

# day_before
? If today is {x}, what day was it yesterday?
? Which day comes just before {x}?
? It is {x} today. What was the name of yesterday?
? On which day do we say that tomorrow is {x}?
? {X} begins. Which day has just ended?
! Today is {x}. Tell me what yesterday was.
! Which day did we have yesterday if it is {x} now?
! Tomorrow is {x}, so what is today?
> Today is {x}, so yesterday was || {a}.
> If tomorrow is {x}, then today is || {a}.
> In every week, the day that comes before {x} is || {a}.
= The day before {x} is {a}.
= If today is {x}, yesterday was {a}.

# nth_day
? If the week starts on Monday, what is the {x} day of the week?
? Which day comes {x} in a week that begins with Monday?
? What is the name of the {x} day in the week?
! The {x} day of the week: what is its name?
> A week starts with Monday. The {x} day of the week is || {a}.
> The name of the {x} day in the week is || {a}.
= The {x} day of the week is {a}.

# month_after
? Which month follows right after {x}?
? {X} is over. Which month begins now?
? If it is {x} now, what will next month be?
? What month do we turn to in the calendar after {x}?
! It is {x}. Tell me the name of next month.
! I turn the page of the calendar after {x}. Which month do I see?
> It is {x} now, so next month will be || {a}.
> When {x} is over, the next month is || {a}.
> In the calendar, {x} is followed by || {a}.
= The month after {x} is {a}.
= {X} is followed by {a}.

# month_before
? Which month comes just before {x}?
? If it is {x} now, what was last month?
? {X} begins. Which month has just ended?
? Which month is on the calendar page before {x}?
! It is {x}. Tell me the name of last month.
! What month did we have right before {x}?
> It is {x} now, so last month was || {a}.
> In the calendar, the month that comes before {x} is || {a}.
= The month before {x} is {a}.
= Just before {x} comes {a}.

# nth_month
? What is the name of the {x} month in the year?
? Which month comes {x} in the year?
? If I count the months, which one is the {x}?
! The {x} month of the year: what is its name?
! Which month has the {x} place in the calendar?
> The name of the {x} month in the year is || {a}.
> If you count the months from January, the {x} one is || {a}.
= The {x} month of the year is {a}.
= {a} is the {x} month of the year.

# month_days
? How many days are there in {x}?
? How long is {x} in days?
? How many days would I count in {X}?
? How many days can you count in the month of {x}?
! I look at the calendar for {x}. How many days do I see?
! Tell me the number of days in {x}.
> The number of days in {x} is || {a}.
> If you count all the days of {x}, you get || {a}.
= {X} has {a} days.
= The number of days in {x} is {a}.

# season_of
? Which season is it in {x}?
? {X} is a month of which season?
? What time of the year is it in {x}: which season?
? When it is {x}, what season do we have?
! Tell me the season that {x} belongs to.
! My birthday is in {x}. Which season is that?
> {X} is a month in || {a}.
> When the calendar says {x}, the season is || {a}.
> The month of {x} belongs to || {a}.
= {X} is in {a}.
= The season in {x} is {a}.

# pick_season
? Which of these months is in {x}?
? Which one of the following months belongs to {x}?
? Only one of these months is in {x}. Which one?

# pick_weekend
? Which of these days is at the weekend?
? Many people are free at the weekend. Which of these days is a weekend day?
? Only one of these days belongs to the weekend. Which one?
? Which of the following is a day of the weekend?
"""
