"""What the recorded voices say: much of it built around lips that meet, bite or do neither.

Whether lips shut is hard to hear, so the phrases set P, B, M against T, D, N, K, G and F, V against
TH, S in the same surroundings, besides ordinary sentences.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from parlante.training.texts import SENTENCES

_ENGLISH: Final = (
    "My mother may make more plum jam for Pam and me tomorrow morning.",
    "Maybe Bob bumped into Tom at the pub; both of them kept dropping their cups.",
    "Do not tell Dan that the dog dug ten deep ditches in the garden again.",
    "Nine nice nurses never knew any news until noon.",
    "Keep going, the king could give a good cake to the cook.",
    "Pack a pair of tall caps, tie them tight, and carry them to the back door.",
    "Five views of the valley have very few of the villages in view.",
    "I think these things rather than those; both mouths breathe the same thin air.",
    "Well, to be honest, the system was not built for this amount of data.",
    "So what you see here is a simple example of how people might use it.",
    "Remember that nobody has ever managed to climb this mountain in December.",
    "Can you imagine how the company would look if everyone simply agreed?",
    "The number of members has been growing since the middle of September.",
    "Um, let me see, I am almost certain that we have met somewhere before.",
    "Hmm, maybe. Mm, yes, perhaps.",
    "We are happy to present the first public version of our new platform.",
    "Open your mouth, please, and say ah. Now close it, and hum along with me.",
    "A problem became a possible improvement, and the improvement became a habit.",
    "Two zoo keepers used new blue shoes; they threw a few rude rumours through the room.",
    "Each evening she reads these three easy pieces, then leaves the keys near the tree.",
    "Our father's car parked far apart from the large dark barn.",
    "Show me the road over the old stone bridge, although the boat goes slowly.",
    "It was a rainy day in late April, and the whole family stayed at home.",
    "Camera, microphone, lamp, and a comfortable chair: that is all you need.",
)
_FRAMES: Final = (
    *("at", "ee", "ay", "oh", "ill", "an", "ack", "ap", "ame", "ine", "oom", "est"),
    *("ail", "ore", "um", "ud", "ock", "op", "are", "ore", "een", "ide"),
)
_ONSETS: Final = (
    *("p", "b", "m", "p", "b", "m", "t", "d", "n", "k", "g", "l", "f", "v", "th", "s", "r", "w"),
    *("h", "y", "sh", "ch", "j", "pl", "br", "sm", "sp", "tr", "dr"),
)
_CZECH: Final = (
    "Dobrý den všem, dnes budeme mluvit o krásné cestě přes hory a lesy.",
    "Babička upekla bábovku a maminka koupila bílé pivo a malé jablko.",
    "Petr potkal Pavla, potom oba běželi podél potoka až k mostu.",
    "Ten den jsme neviděli nic než tiché údolí a daleké hory.",
    "Fialové květiny voněly v každé vesnici, ve které jsme včera byli.",
    "Kdo to tady nechal? Nikdo to neví, a tak to nikomu neříkej.",
)
_FINNISH: Final = (
    "Hyvää huomenta kaikille, tänään puhumme kauniista matkasta meren yli.",
    "Mummo paistoi pullaa ja pappa maalasi pienen punaisen veneen.",
    "Tiina tietää, että takana on tie, jota kukaan ei enää käytä.",
    "Minun mielestäni tämä on paras mahdollinen päivä ampua raketti taivaalle.",
    "Kuka kantoi kiven kadun yli? Niin, en kyllä tiedä.",
)
_CATALAN: Final = (
    "Bon dia a tothom, avui parlarem d'un viatge molt bonic per la muntanya.",
    "La mare va posar el pa sobre la taula i el pare va comprar pomes.",
    "Potser demà tornarem al camp amb en Pau, la Maria i tota la família.",
    "Vull una fotografia de la finestra vella que hi ha davant de la font.",
    "Quan era petit, jugava cada tarda al carrer amb els nens del poble.",
)
_SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "english": (*_ENGLISH, *SENTENCES["en-us"], *SENTENCES["en-gb-x-rp"]),
    "italian": (
        *SENTENCES["it"],
        "Domani mattina prendiamo il treno per Bologna insieme a mamma e papà.",
        "Non tutti i cani neri dormono accanto al camino; alcuni dormono in cantina.",
        "Bambini, per piacere, abbassate la musica e mettete a posto la camera!",
    ),
    "czech": _CZECH,
    "finnish": _FINNISH,
    "catalan": _CATALAN,
    "russian": SENTENCES["ru"],
    "hindi": SENTENCES["hi"],
}
_CONSONANTS: Final = (*"ppbbmmfvtdnnslrkg", "mp", "mb", "nd", "nt", "st", "tr", "br")
_VOWELS: Final = (*"aeiou", *"aeiou", "aa", "ia", "ua")


def pick_phrase(language: str, rng: np.random.Generator) -> str:
    """Draw a sentence, words in disorder, contrasting words, or open syllables.

    Args:
        language: English name in lower case.
        rng: Source of randomness.
    """
    kind = rng.random()
    sentences = _SENTENCES[language]
    if kind < 0.40 or (kind >= 0.65 and language in ("russian", "hindi")):
        return str(rng.choice(sentences))
    if kind < 0.65:
        words = " ".join(sentences).replace("?", ",").replace(".", "").split()
        return " ".join(rng.choice(words, size=int(rng.integers(4, 13)))) + "."
    if language == "english" and kind < 0.85:
        return _contrast(rng)
    return " ".join(_syllables(rng) for _ in range(int(rng.integers(3, 8)))) + "."


def _contrast(rng: np.random.Generator) -> str:
    """Words that differ at their beginning, alone or in a carrier phrase."""
    frame = str(rng.choice(_FRAMES))
    words = [str(onset) + frame for onset in rng.choice(_ONSETS, size=int(rng.integers(3, 8)))]
    if rng.random() < 0.4:
        return " ".join(f"say {word} again," for word in words[:3]).strip(",") + "."
    return (", " if rng.random() < 0.3 else " ").join(words) + "."


def _syllables(rng: np.random.Generator) -> str:
    count = int(rng.integers(1, 4))
    return "".join(str(rng.choice(_CONSONANTS)) + str(rng.choice(_VOWELS)) for _ in range(count))
