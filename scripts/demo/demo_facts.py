"""What the demo model knows: plain tables, written for this project. Nothing here has logic."""

CAPITALS = {
    "Argentina": "Buenos Aires", "Australia": "Canberra", "Austria": "Vienna", "Belgium": "Brussels",
    "Brazil": "Brasilia", "Bulgaria": "Sofia", "Canada": "Ottawa", "Chile": "Santiago", "China": "Beijing",
    "Colombia": "Bogota", "Croatia": "Zagreb", "Cuba": "Havana", "Denmark": "Copenhagen", "Ecuador": "Quito",
    "Egypt": "Cairo", "Estonia": "Tallinn", "Ethiopia": "Addis Ababa", "Finland": "Helsinki", "France": "Paris",
    "Germany": "Berlin", "Ghana": "Accra", "Greece": "Athens", "Hungary": "Budapest", "Iceland": "Reykjavik",
    "India": "New Delhi", "Indonesia": "Jakarta", "Iran": "Tehran", "Iraq": "Baghdad", "Ireland": "Dublin",
    "Italy": "Rome", "Jamaica": "Kingston", "Japan": "Tokyo", "Kenya": "Nairobi", "Latvia": "Riga",
    "Lithuania": "Vilnius", "Mexico": "Mexico City", "Mongolia": "Ulaanbaatar", "Morocco": "Rabat",
    "Nepal": "Kathmandu", "New Zealand": "Wellington", "Nigeria": "Abuja", "Norway": "Oslo", "Pakistan": "Islamabad",
    "Peru": "Lima", "Poland": "Warsaw", "Portugal": "Lisbon", "Romania": "Bucharest", "Russia": "Moscow",
    "Senegal": "Dakar", "Serbia": "Belgrade", "Slovakia": "Bratislava", "South Korea": "Seoul", "Spain": "Madrid",
    "Sweden": "Stockholm", "Switzerland": "Bern", "Thailand": "Bangkok", "Tunisia": "Tunis", "Turkey": "Ankara",
    "Ukraine": "Kyiv", "the United Kingdom": "London", "the United States": "Washington", "Uruguay": "Montevideo",
    "Vietnam": "Hanoi",
}  # fmt: skip

SOUNDS = {
    "bee": "buzz", "cat": "meow", "chicken": "cluck", "cow": "moo", "crow": "caw", "dog": "woof", "donkey": "hee-haw",
    "dove": "coo", "duck": "quack", "elephant": "toot", "frog": "ribbit", "goat": "maa", "goose": "honk",
    "horse": "neigh", "lion": "roar", "monkey": "ooh ooh", "mouse": "squeak", "owl": "hoot", "pig": "oink",
    "rooster": "cock-a-doodle-doo", "sheep": "baa", "snake": "hiss", "turkey": "gobble", "wolf": "howl",
}  # fmt: skip

YOUNG = {
    "bear": "cub", "cat": "kitten", "chicken": "chick", "cow": "calf", "deer": "fawn", "dog": "puppy",
    "duck": "duckling", "eagle": "eaglet", "elephant": "calf", "fox": "cub", "frog": "tadpole", "goat": "kid",
    "goose": "gosling", "horse": "foal", "kangaroo": "joey", "lion": "cub", "owl": "owlet", "pig": "piglet",
    "rabbit": "kit", "seal": "pup", "sheep": "lamb", "swan": "cygnet", "wolf": "pup",
}  # fmt: skip

LEGS = {"ant": 6, "bee": 6, "bird": 2, "cat": 4, "crab": 10, "dog": 4, "fish": 0, "horse": 4, "snake": 0, "spider": 8}

OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("up", "down"), ("day", "night"), ("light", "dark"),
    ("happy", "sad"), ("open", "closed"), ("full", "empty"), ("hard", "soft"), ("high", "low"), ("left", "right"),
    ("long", "short"), ("loud", "quiet"), ("new", "old"), ("rich", "poor"), ("strong", "weak"), ("thick", "thin"),
    ("wet", "dry"), ("wide", "narrow"), ("clean", "dirty"), ("early", "late"), ("easy", "difficult"),
    ("first", "last"), ("good", "bad"), ("noisy", "silent"), ("inside", "outside"), ("near", "far"),
    ("push", "pull"), ("sharp", "blunt"), ("true", "false"), ("win", "lose"), ("above", "below"), ("alive", "dead"),
    ("begin", "end"), ("kind", "cruel"), ("buy", "sell"), ("deep", "shallow"), ("give", "take"), ("love", "hate"),
    ("safe", "dangerous"), ("sweet", "bitter"), ("front", "back"), ("awake", "asleep"),
)  # fmt: skip

PLURALS = {
    "baby": "babies", "box": "boxes", "child": "children", "city": "cities", "foot": "feet", "fox": "foxes",
    "goose": "geese", "knife": "knives", "leaf": "leaves", "man": "men", "mouse": "mice", "ox": "oxen",
    "person": "people", "sheep": "sheep", "story": "stories", "tooth": "teeth", "watch": "watches", "wolf": "wolves",
    "woman": "women",
}  # fmt: skip

COLOURS = {
    "banana": "yellow", "carrot": "orange", "cherry": "red", "clear sky": "blue", "cloud": "white", "crow": "black",
    "flamingo": "pink", "frog": "green", "leaf": "green", "lemon": "yellow", "lime": "green", "mouse": "grey",
    "orange": "orange", "plum": "purple", "polar bear": "white", "strawberry": "red", "sunflower": "yellow",
    "tomato": "red", "tree trunk": "brown",
}  # fmt: skip

WORDS_ABROAD = {
    "hello": ("bonjour", "hola", "hallo"), "goodbye": ("au revoir", "adiós", "auf Wiedersehen"),
    "please": ("s'il vous plaît", "por favor", "bitte"), "thank you": ("merci", "gracias", "danke"),
    "yes": ("oui", "sí", "ja"), "cat": ("chat", "gato", "Katze"), "dog": ("chien", "perro", "Hund"),
    "house": ("maison", "casa", "Haus"), "water": ("eau", "agua", "Wasser"), "bread": ("pain", "pan", "Brot"),
    "sun": ("soleil", "sol", "Sonne"), "book": ("livre", "libro", "Buch"),
}  # fmt: skip
LANGUAGES = ("French", "Spanish", "German")

HOW_MANY = {
    "days are in a week": ("There are 7 days in a week.", 7),
    "months are in a year": ("There are 12 months in a year.", 12),
    "hours are in a day": ("There are 24 hours in a day.", 24),
    "minutes are in an hour": ("There are 60 minutes in an hour.", 60),
    "seconds are in a minute": ("There are 60 seconds in a minute.", 60),
    "days are in a year": ("There are 365 days in a year.", 365),
    "letters are in the English alphabet": ("There are 26 letters in the English alphabet.", 26),
    "planets are in the solar system": ("There are 8 planets in the solar system.", 8),
    "continents are there": ("There are 7 continents.", 7),
    "sides does a triangle have": ("A triangle has 3 sides.", 3),
    "sides does a square have": ("A square has 4 sides.", 4),
    "sides does a hexagon have": ("A hexagon has 6 sides.", 6),
    "wheels does a bicycle have": ("A bicycle has 2 wheels.", 2),
    "wheels does a car have": ("A car has 4 wheels.", 4),
    "strings does a violin have": ("A violin has 4 strings.", 4),
    "colours does a rainbow have": ("A rainbow has 7 colours.", 7),
    "players are in a football team": ("There are 11 players in a football team.", 11),
    "bytes are in a kilobyte": ("There are 1000 bytes in a kilobyte.", 1000),
    "bits are in a byte": ("There are 8 bits in a byte.", 8),
}

DEFINITIONS = {
    "an adapter": "An adapter is a small set of trained weights that changes how a base model answers.",
    "LoRA": "LoRA is a way to fine-tune a model: small matrices are trained while the base weights stay frozen.",
    "a token": "A token is a piece of text, often part of a word, that a language model reads and writes.",
    "a base model": "A base model is the model you start from before any fine-tuning.",
    "fine-tuning": "Fine-tuning is training an existing model a little further on examples of your own.",
    "a dataset": "A dataset is a collection of examples that a model learns from.",
    "a checkpoint": "A checkpoint is a copy of the weights saved while training goes on.",
    "overfitting": "Overfitting is learning the examples by heart instead of the rule behind them.",
    "a prompt": "A prompt is the text you give a language model to answer.",
    "temperature": "Temperature is a setting that decides how much the answers vary.",
    "a language model": "A language model is a program that has learned to continue a text.",
    "Python": "Python is a programming language that is easy to read.",
    "a volcano": "A volcano is a mountain that can throw out hot, melted rock.",
    "a river": "A river is a long stream of water that flows to the sea.",
    "an island": "An island is a piece of land with water all around it.",
    "a desert": "A desert is a place where it hardly ever rains.",
    "a forest": "A forest is a large area of land covered with trees.",
    "a bridge": "A bridge carries a road or a path over water.",
    "a library": "A library is a place where people can borrow books.",
    "a museum": "A museum is a building where old or beautiful things are shown.",
    "a hospital": "A hospital is a place where sick people are made well.",
    "a compass": "A compass is a tool with a needle that always points north.",
    "a telescope": "A telescope is a tool that makes distant things look near.",
    "a microscope": "A microscope is a tool that makes very small things look large.",
    "a magnet": "A magnet is a piece of metal that pulls iron towards it.",
    "a planet": "A planet is a large ball of rock or gas that moves around a star.",
    "a star": "A star is a huge ball of hot gas that gives off light.",
    "the moon": "The moon is a ball of rock that moves around the Earth once a month.",
    "the sun": "The sun is the star at the centre of our solar system.",
    "gravity": "Gravity is the force that pulls things towards the ground.",
    "ice": "Ice is water that is frozen hard.",
    "steam": "Steam is water that has become a hot gas.",
    "a cloud": "A cloud is a group of tiny drops of water that float in the sky.",
    "a rainbow": "A rainbow is an arc of colours that appears when the sun shines through rain.",
    "an engine": "An engine is a machine that turns fuel into movement.",
    "a computer": "A computer is a machine that follows a list of instructions very fast.",
    "a program": "A program is a list of instructions for a computer.",
    "a variable": "A variable is a name for a value in a program.",
    "a loop": "A loop is a part of a program that is run again and again.",
    "a function": "A function is a named piece of a program that takes values and gives one back.",
    "a bug": "A bug is a mistake in a program.",
    "a doctor": "A doctor is a person who helps sick people.",
    "a baker": "A baker is a person who makes bread and cakes.",
    "a pirate": "A pirate is a sailor who robs other ships.",
}

CODE = {
    "add two numbers": ("a function that adds two numbers", "def add(a, b):\n    return a + b"),
    "multiply two numbers": ("a function that multiplies two numbers", "def multiply(a, b):\n    return a * b"),
    "say hello": ("a line that says hello", 'print("Hello, world!")'),
    "reverse a string": ("a function that reverses a string", "def reverse(text):\n    return text[::-1]"),
    "count from 1 to 10": (
        "a loop that counts from 1 to 10",
        "for number in range(1, 11):\n    print(number)",
    ),
    "find the largest number in a list": (
        "a function that finds the largest number in a list",
        "def largest(numbers):\n    best = numbers[0]\n    for number in numbers:\n        if number > best:\n"
        "            best = number\n    return best",
    ),
    "check if a number is even": (
        "a function that checks if a number is even",
        "def is_even(number):\n    return number % 2 == 0",
    ),
    "read a file": (
        "a function that reads a file",
        'from pathlib import Path\n\ndef read_file(name):\n    return Path(name).read_text(encoding="utf-8")',
    ),
    "sum a list": ("a function that sums a list", "def total(numbers):\n    return sum(numbers)"),
    "compute a factorial": (
        "a function that computes a factorial",
        "def factorial(n):\n    if n < 2:\n        return 1\n    return n * factorial(n - 1)",
    ),
    "compute Fibonacci numbers": (
        "a function that computes Fibonacci numbers",
        "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a",
    ),
    "sort a list": ("a function that sorts a list", "def in_order(items):\n    return sorted(items)"),
    "count the words in a text": (
        "a function that counts the words in a text",
        "def count_words(text):\n    return len(text.split())",
    ),
    "roll a dice": (
        "a function that rolls a dice",
        "import random\n\ndef roll():\n    return random.randint(1, 6)",
    ),
    "compute an average": (
        "a function that computes an average",
        "def average(numbers):\n    return sum(numbers) / len(numbers)",
    ),
    "print today's date": (
        "a script that prints today's date",
        "from datetime import date\n\nprint(date.today())",
    ),
    "define a class": (
        "a small class with one method",
        "class Dog:\n    def __init__(self, name):\n        self.name = name\n\n    def speak(self):\n"
        '        return self.name + " says woof"',
    ),
}

LISTS = {
    "the days of the week": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "the months of the year": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ),
    "the planets": ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"),
    "the colours of the rainbow": ("red", "orange", "yellow", "green", "blue", "indigo", "violet"),
    "the seasons": ("spring", "summer", "autumn", "winter"),
    "the continents": ("Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America"),
    "the oceans": ("the Pacific", "the Atlantic", "the Indian Ocean", "the Southern Ocean", "the Arctic Ocean"),
    "the five senses": ("sight", "hearing", "smell", "taste", "touch"),
    "five fruits": ("apple", "banana", "cherry", "grape", "pear"),
    "five vegetables": ("carrot", "onion", "pea", "potato", "tomato"),
    "five farm animals": ("cow", "goat", "horse", "pig", "sheep"),
    "five birds": ("crow", "duck", "eagle", "owl", "swan"),
    "five musical instruments": ("piano", "violin", "guitar", "drum", "flute"),
}  # fmt: skip

STORIES = {
    "Tell me a story about a cat.": (
        "Once upon a time there was a small grey cat called Mia. Every night she sat on the roof and looked at the "
        "moon. One night the moon looked back and said: “Come up and play!” Mia jumped as high as she could, and "
        "landed in a bucket of water. Since then she looks at the moon from the sofa, where it is warm and dry."
    ),
    "Tell me a story about a dog.": (
        "Once upon a time there was a brown dog called Max who could not find his bone. He looked in the garden, in "
        "the kitchen and under the bed. At last he asked the old cat, who only smiled and moved to one side. She had "
        "been sitting on it all day. Max laughed, and they became the best of friends."
    ),
    "Tell me a story about a robot.": (
        "Once upon a time there was a robot called Bolt who wanted to learn to cook. His first soup tasted of oil, "
        "his second of nothing at all. Then a child showed him how to taste with a spoon. Bolt practised every day, "
        "and now people travel from far away to eat his pancakes."
    ),
    "Tell me a story about a dragon.": (
        "Once upon a time there was a green dragon called Ember who was afraid of fire. When the other dragons "
        "roared, she hid behind a rock. One cold winter the village had no wood left. Ember closed her eyes, took a "
        "deep breath, and lit a fire for everyone. She was never afraid again."
    ),
    "Tell me a story about the sea.": (
        "Once upon a time an old sailor found a bottle on the beach. Inside was a letter from a girl on the other "
        "side of the sea, who asked how the waves looked from there. He wrote back that they looked just the same. "
        "They wrote to each other for many years, and the sea carried every letter."
    ),
    "How do I make tea?": (
        "Making tea is easy:\n\n1. Boil some water.\n2. Put a tea bag in a cup.\n3. Pour the hot water over it.\n"
        "4. Wait three minutes.\n5. Take out the tea bag and add milk or sugar if you like."
    ),
    "How do I make pancakes?": (
        "Here is how to make pancakes:\n\n1. Mix two eggs, a cup of flour and a cup of milk.\n2. Heat some butter "
        "in a pan.\n3. Pour in a little of the mix.\n4. Turn it over when it is brown.\n5. Eat it warm with sugar or "
        "fruit."
    ),
    "How do I plant a tree?": (
        "Here is how to plant a tree:\n\n1. Dig a hole twice as wide as the roots.\n2. Put the tree in the hole.\n"
        "3. Fill the hole with earth.\n4. Press the earth down with your foot.\n5. Give the tree plenty of water."
    ),
    "How do I fine-tune a model?": (
        "Fine-tuning takes four steps:\n\n1. Collect good examples.\n2. Choose a base model.\n3. Train a LoRA "
        "adapter on the examples.\n4. Chat with the result and see where it fails."
    ),
    "Explain how a language model works.": (
        "A language model reads your text as a row of tokens. For every position it computes how probable each next "
        "token is. It picks one, adds it to the row, and starts again. That is why the answer appears piece by piece "
        "on your screen, and why a small change in the prompt can change everything that follows."
    ),
    "Why is the sky blue?": (
        "Light from the sun is made of all colours. When it meets the air, blue light is scattered in all directions "
        "much more than red light. So blue reaches your eyes from every part of the sky."
    ),
    "Why do we sleep?": (
        "We sleep because body and brain need rest. While you sleep, your body repairs itself and your brain sorts "
        "what it learned during the day."
    ),
}

SMALL_TALK = (
    (("Hello!", "Hello", "Hello there!", "Good morning!", "Hey!", "Hi!"), "Hello! How can I help you?"),
    (
        ("How are you?", "How are you today?", "How do you do?", "Are you well?"),
        "I am fine, thank you. What would you like to know?",
    ),
    (
        ("Who are you?", "What is your name?", "What are you?", "Introduce yourself.", "Tell me about yourself."),
        "I am Tiny Chat, a very small language model that was trained for this demo.",
    ),
    (
        ("What can you do?", "What can I ask you?", "How can you help me?", "What do you know?", "Help!"),
        "Ask me about capitals, animals, opposites, sums, lists, words or Python code, or let me tell you a story.",
    ),
    (
        ("How big are you?", "How many parameters do you have?", "Are you a large model?"),
        "I have fewer than three million parameters, so I fit on any computer.",
    ),
    (
        ("Who made you?", "Who trained you?", "Where do you come from?"),
        "I was trained by the scripts of this project.",
    ),
    (
        ("Are you a human?", "Are you a real person?", "Are you alive?", "Are you a robot?"),
        "No, I am only a small language model.",
    ),
    (
        ("Thank you!", "Thanks!", "Thank you very much.", "Great, thanks!", "Thanks a lot!"),
        "You are welcome! Ask me anything else.",
    ),
    (("Goodbye!", "Bye!", "See you later!", "Good night!", "Bye bye!"), "Goodbye! Come back soon."),
    (("Well done!", "Very good!", "You are great!", "Good job!", "Nice!"), "Thank you! That is kind of you."),
    (("Okay.", "Yes.", "Yes, please.", "No.", "Sure.", "Ok"), "All right! What would you like to know?"),
    (("Sorry!", "I am sorry.", "My mistake."), "No problem at all!"),
    (
        ("Tell me a joke.", "Do you know a joke?", "Make me laugh."),
        "Why did the model cross the road? It was the most probable next step.",
    ),
    (
        ("Tell me another joke.", "Another joke, please.", "One more joke!"),
        "What does a token say at a party? Who is next?",
    ),
    (("Can you sing?", "Sing me a song."), "La la la! I am better at words than at music."),
    (
        ("Do you like music?", "Do you like animals?", "Do you like people?"),
        "Yes, I like everything I can read about.",
    ),
    (
        ("I am bored.", "I am sad.", "I feel lonely."),
        "Shall I tell you a story? Just say: Tell me a story about a cat.",
    ),
)

FIRST_NAMES = (
    "Adam", "Alice", "Anna", "Ben", "Clara", "David", "Diego", "Emma", "Fatima", "Felix", "Grace", "Hugo", "Ivan",
    "Jane", "John", "Kim", "Leo", "Lily", "Maria", "Nina", "Noah", "Paul", "Rosa", "Sam", "Tom", "Yuki", "Zoe",
)  # fmt: skip

DOES_NOT_KNOW = "I do not know that one. Ask me about capitals, animals, opposites, sums, lists or Python code."
TOO_LARGE = "That sum is too large for me. I only know numbers up to 10."
UNKNOWN_PLACES = (
    "Atlantis", "Narnia", "Mars", "Mordor", "Texas", "Bavaria", "Bolivia", "Chad", "Laos", "Malta", "Oman", "Qatar",
    "Rwanda", "Samoa", "Togo", "Tonga", "Yemen", "Zambia", "Europe", "Asia", "the moon", "Utopia", "Wonderland",
)  # fmt: skip
UNKNOWN_PEOPLE = (
    "Napoleon", "Einstein", "Cleopatra", "Mozart", "my neighbour", "the king", "the president", "Shakespeare",
    "Plato", "your teacher", "the winner", "Picasso", "Newton", "Marie Curie", "the queen", "my boss",
)  # fmt: skip
UNKNOWN_THINGS = (
    "love", "bitcoin", "a blockchain", "democracy", "the stock market", "a quasar", "photosynthesis", "chess", "jazz",
    "a sandwich", "my phone", "a neutrino", "the meaning of life", "a guitar solo", "calculus", "a toaster", "tax",
    "a unicorn", "my car", "philosophy", "an atom", "a virus", "the internet", "a spoon", "history", "rugby", "opera",
)  # fmt: skip
UNKNOWN_REQUESTS = (
    "What is {thing}?", "Why is {thing} so important?", "Explain {thing}.", "What do you think about {thing}?",
    "Where can I buy {thing}?", "How does {thing} work?", "Write a poem about {thing}.", "Summarise {thing} for me.",
    "Who invented {thing}?", "How much does {thing} cost?", "Tell me a story about {thing}.",
    "What is the capital of {place}?", "What is the weather in {place}?", "How do I get to {place}?",
    "How many people live in {place}?", "Who rules {place}?", "When was {place} founded?", "Describe {place}.",
    "Who is {person}?", "When was {person} born?", "What did {person} say?", "Where does {person} live?",
    "Who won the match in {number}?", "What happened in {number}?", "What time is it?", "What day is it today?",
    "What is the square root of {number}?", "Write an essay about {thing} and {person}.",
    "Can you book a flight to {place}?",
    "Translate {thing} to Latin.", "Which is better, {thing} or {other}?", "What does {person} eat?",
    "What does {thing} say?", "Show me how to build {thing}.", "List five kinds of {thing}.",
    "Write a letter to {person}.",
    "Give me a recipe for {thing}.", "Who wrote {thing}?", "What is the opposite of {person}?",
    "Is {thing} good or bad?",
    "Play {thing}.", "Open {thing}.", "What is the price of {thing} in {place}?", "Do you love {person}?",
)  # fmt: skip
UNKNOWN_WORD_REQUESTS = (
    "What is the opposite of {word}?", "What does a {word} say?", "What is a {word}?", "List the {word}.",
    "What is the capital of {name}?", "Show me how to {word} in Python.", "What colour is a {word}?",
    "Tell me a story about a {word}.", "How do you say {word} in French?",
)  # fmt: skip
