"""The words and sentence patterns that the sample corpus is made of; data only."""


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


# Film reviews.

TOPICS = _words(
    "film movie comedy thriller drama documentary western romance sequel remake mystery biopic musical satire fable caper"
)
PARTS = _words(
    "plot|script|dialogue|acting|pacing|camera work|score|ending|lead performance|supporting cast|editing|premise|second half|"
    "first hour|humor|love story|set design|storytelling",
    "|",
)

QUALITIES: dict[int, tuple[str, ...]] = {
    2: _words(
        "superb dazzling brilliant unforgettable magnificent extraordinary exhilarating masterful stunning breathtaking "
        "triumphant wondrous flawless phenomenal sublime"
    ),
    1: _words(
        "pleasant likable engaging charming solid amusing enjoyable warm appealing clever lively touching sweet smart "
        "satisfying graceful"
    ),
    0: _words(
        "ordinary average conventional familiar routine passable middling standard unremarkable typical straightforward "
        "serviceable"
    ),
    -1: _words(
        "dull uneven forgettable clumsy thin flat predictable tedious muddled stale shallow sluggish bland awkward tired "
        "contrived"
    ),
    -2: _words(
        "dreadful unbearable atrocious disastrous insufferable appalling wretched abysmal horrendous excruciating hopeless "
        "repulsive laughable worthless incompetent"
    ),
}
VERDICTS: dict[int, tuple[str, ...]] = {
    2: ("masterpiece", "triumph", "revelation", "landmark", "work of genius", "knockout"),
    1: ("treat", "pleasure", "charmer", "winner", "crowd pleaser", "delight"),
    -1: ("letdown", "bore", "misfire", "slog", "chore", "disappointment"),
    -2: ("disaster", "catastrophe", "travesty", "train wreck", "total failure", "insult"),
}
REACTIONS: dict[int, tuple[str, ...]] = {
    2: ("left me in awe", "took my breath away", "is the best thing I have seen all year", "deserves every award"),
    1: ("kept me smiling", "held my attention", "is worth a look", "won me over in the end"),
    0: ("is neither good nor bad", "does its job and no more", "is fine for a rainy evening", "leaves little impression"),
    -1: ("made me check my watch", "never quite comes together", "runs out of ideas", "tries my patience"),
    -2: ("made me want to walk out", "is a complete waste of time", "fails on every level", "is painful to sit through"),
}
AMPLIFIERS = ("truly", "utterly", "absolutely", "incredibly", "thoroughly", "deeply")
DAMPENERS = ("fairly", "somewhat", "mildly", "rather", "a little", "more or less")
NEGATIONS = ("not exactly", "hardly", "far from", "anything but", "by no means")

# Questions.  Each group holds ways to ask the same thing; groups under one topic ask different things of the same slot.

QUESTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "skill": (
        (
            "How can I learn {}?",
            "What is the best way to learn {}?",
            "How do I get started with {}?",
            "What should a beginner do to pick up {}?",
        ),
        ("How can I teach {}?", "What is the best way to teach {}?", "How do I give lessons in {}?"),
        ("How long does it take to learn {}?", "How many months do I need to master {}?", "When will I be good at {}?"),
        ("Why should I learn {}?", "What are the benefits of learning {}?", "Is {} worth learning?"),
        ("Why should I not learn {}?", "What are the drawbacks of learning {}?", "What speaks against learning {}?"),
    ),
    "city": (
        ("What are the best places to visit in {}?", "What should I see in {}?", "Which sights of {} are worth a visit?"),
        ("Where can I eat well in {}?", "What are good restaurants in {}?", "Which food places in {} do you recommend?"),
        ("Is it safe to live in {}?", "How dangerous is {} for residents?", "Do people feel secure in {}?"),
        ("How expensive is it to live in {}?", "What is the cost of living in {}?", "How much money do I need each month in {}?"),
        ("How do I find a job in {}?", "What is the best way to get work in {}?", "How can a newcomer get hired in {}?"),
    ),
    "product": (
        ("Which {} should I buy?", "What is the best {} to purchase?", "Can you recommend a good {}?"),
        ("How do I repair a {}?", "What can I do to fix my {}?", "How can a broken {} be mended?"),
        ("How do I sell my used {}?", "Where can I get money for my old {}?", "What is the best way to sell a {}?"),
        ("How does a {} work?", "What is the principle behind a {}?", "Can someone explain how a {} functions?"),
        ("How do I clean a {}?", "What is the right way to keep a {} clean?", "How can I get dirt off my {}?"),
    ),
    "goal": (
        ("How can I {}?", "What is the best way to {}?", "What should I do to {}?", "Any advice on how to {}?"),
        ("Why is it so hard to {}?", "What makes it difficult to {}?", "Why do people fail to {}?"),
        ("Is it bad to {}?", "What are the risks if I {}?", "Could it hurt me to {}?"),
        ("Which app helps me {}?", "What software is there to {}?", "Is there a program that helps people {}?"),
    ),
}
DIRECTED: tuple[tuple[str, ...], ...] = (
    ("How do I get from {0} to {1}?", "What is the fastest route from {0} to {1}?", "How can I travel to {1} from {0}?"),
    ("Is {0} bigger than {1}?", "Does {0} have more people than {1}?", "Is {1} smaller than {0}?"),
    ("Why did you move from {0} to {1}?", "What made you leave {0} for {1}?", "Why did you choose {1} over {0}?"),
    ("Is life in {0} better than in {1}?", "Is {1} a worse place to live than {0}?", "Do people prefer {0} to {1}?"),
)
SLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "skill": (
        ("guitar",),
        ("piano",),
        ("chess",),
        ("coding", "programming"),
        ("drawing", "sketching"),
        ("Spanish",),
        ("French",),
        ("swimming",),
        ("photography", "taking photos"),
        ("cooking", "preparing food"),
        ("public speaking", "giving speeches"),
        ("machine learning",),
        ("algebra",),
        ("dancing",),
    ),
    "city": (
        ("Paris",),
        ("London",),
        ("Tokyo",),
        ("New York", "New York City"),
        ("Berlin",),
        ("Mumbai", "Bombay"),
        ("Sydney",),
        ("Toronto",),
        ("Madrid",),
        ("Chicago",),
        ("Singapore",),
        ("Dublin",),
    ),
    "product": (
        ("laptop", "notebook computer"),
        ("phone", "mobile phone"),
        ("camera",),
        ("bicycle", "bike"),
        ("car", "automobile"),
        ("television", "TV"),
        ("washing machine", "washer"),
        ("microwave",),
        ("printer",),
        ("couch", "sofa"),
        ("refrigerator", "fridge"),
        ("drone",),
    ),
    "goal": (
        ("lose weight", "shed some pounds"),
        ("gain weight", "put on some pounds"),
        ("wake up early", "get up early"),
        ("stay up late",),
        ("save money", "put money aside"),
        ("quit smoking", "give up cigarettes"),
        ("sleep better", "get better sleep"),
        ("run faster", "improve my running speed"),
        ("make new friends", "meet new people"),
        ("remember names",),
        ("forget the past", "let go of the past"),
        ("stop worrying", "worry less"),
    ),
}

# Captions.  A concept is a tuple of words that mean the same; neighbours in a group are related, groups are not.

SUBJECTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("man", "guy"), ("woman", "lady"), ("boy", "young boy"), ("girl", "young girl"), ("child", "kid")),
    (("dog", "hound"), ("cat", "kitten"), ("puppy", "small dog"), ("horse", "pony")),
    (("chef", "cook"), ("waiter",), ("baker",)),
    (("monkey", "ape"), ("panda", "panda bear"), ("tiger", "big cat")),
    (("musician", "performer"), ("dancer",), ("singer", "vocalist")),
)
ACTIONS: tuple[tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]], ...] = (
    ((("playing",), ("tuning",), ("carrying", "holding")), (("guitar",), ("violin", "fiddle"), ("flute",), ("drum",))),
    ((("eating", "chewing"), ("slicing", "cutting"), ("peeling",)), (("banana",), ("carrot",), ("potato",), ("melon",))),
    ((("chasing", "pursuing"), ("throwing", "tossing"), ("catching",)), (("ball",), ("frisbee",), ("stick", "twig"))),
    ((("riding",), ("pushing", "shoving"), ("washing", "cleaning")), (("bike", "bicycle"), ("scooter",), ("cart", "wagon"))),
    ((("reading",), ("watching", "looking at"), ("drawing", "sketching")), (("book",), ("map",), ("picture", "photo"))),
)
PLACES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("on the beach", "on the shore"), ("by the lake",), ("by the river", "by the stream")),
    (("in the kitchen",), ("in the lounge", "in the parlor"), ("at home", "in the house")),
    (("in the park",), ("in the garden", "in the yard"), ("on the grass", "on the lawn")),
    (("on the street", "on the road"), ("on stage",), ("before a crowd", "before an audience")),
)
NUMBERS: tuple[tuple[str, ...], ...] = (("a", "one"), ("two", "both"), ("three",), ("several", "many"))
PLURALS = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "lady": "ladies",
    "pony": "ponies",
    "puppy": "puppies",
}
"""Plurals that do not end in a plain s."""
