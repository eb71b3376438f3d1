"""What the synthetic speakers say: sentences of our own, shuffled words, numbers, syllables."""

from __future__ import annotations

from typing import Final

import numpy as np

# Language (espeak-ng voice) -> sentences. Written for this corpus, to cover each sound system.
SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "en-us": (
        "Good morning everybody, thank you very much for coming to my workshop today.",
        "Bob put the big purple box above the map and moved the lamp.",
        "Five very brave wolves found food from the far village before the winter.",
        "She showed us a huge fish, then she washed the dishes with such a charming smile.",
        "You and I both know that the blue moon will go through the window soon.",
        "I am not sure what happened yesterday, but we might try again tomorrow afternoon!",
        "Please keep these three green leaves, they feel so clean and easy to read.",
        "The father of the author thought about nothing but the weather in the north.",
        "What a wonderful idea, how about going out for a walk around the house?",
        "My favourite part of the movie was when the boy jumped over a very hot pot of coffee.",
    ),
    "en-gb-x-rp": (
        "Perhaps we ought to ask the people upstairs whether the bath water is warm.",
        "Oh, I should have thought of that, he always walks along the harbour before supper.",
        "Peter bought a pair of brown boots, a map, and half a dozen postcards.",
        "They're rather fond of rowing, although the river's been far too rough this autumn.",
    ),
    "it": (
        "Buongiorno a tutti, oggi parliamo di una bella giornata di primavera in montagna.",
        "Il papà di Paolo ha comprato un piccolo barattolo di pomodori per la pasta.",
        "Vorrei fare una fotografia della vecchia finestra verde vicino alla fontana.",
        "Gli gnocchi della zia Giulia sono buonissimi, ne mangiamo ogni giovedì.",
        "Che cosa fai domani mattina? Andiamo insieme al mercato, così chiacchieriamo un po'.",
        "L'uomo buono suona il violino con due musicisti famosi sotto la luna.",
    ),
    "es": (
        "Buenos días a todos, hoy vamos a hablar de un viaje maravilloso por la costa.",
        "El bebé de Pablo bebe agua mientras su mamá prepara pan con tomate.",
        "¿Dónde está la biblioteca? Creo que queda cerca de la iglesia vieja.",
        "Muchos jóvenes juegan al fútbol los jueves y luego comen paella juntos.",
        "Una lluvia suave cubrió las calles y nadie quiso salir de su casa.",
    ),
    "fr": (
        "Bonjour à tous, nous allons parler d'un beau voyage au bord de la mer.",
        "Papa a posé une petite pomme sur le banc, puis maman a bu un bon bol de chocolat.",
        "Je voudrais une feuille verte, un fruit mûr et du vin pour fêter la victoire.",
        "Où est-ce que vous habitez maintenant ? Dans une rue tout près du vieux port.",
        "Chaque jour, le jeune chien joue dans le jardin avec deux chats gris.",
    ),
    "de": (
        "Guten Morgen zusammen, heute sprechen wir über eine schöne Reise durch die Berge.",
        "Bitte bringen Sie mir ein Paar braune Bücher und eine bunte Mappe vom Markt.",
        "Fünf Vögel flogen früh über das weite Feld und warfen Federn vom Himmel.",
        "Schüler möchten im Frühling öfter draußen spielen, das finde ich völlig natürlich.",
        "Wie geht es dir? Ich habe gestern zwei Stunden auf den Zug gewartet.",
    ),
    "pt-br": (
        "Bom dia a todos, hoje vamos conversar sobre uma viagem maravilhosa pelo mar.",
        "O bebê da Paula bebeu água e a mamãe preparou um bolo bem pequeno.",
        "Você viu a velha fotografia na janela? Foi uma festa muito feliz.",
        "Minha irmã não gosta de chuva, mas adora caminhar com o cachorro.",
    ),
    "ru": (
        "Доброе утро, сегодня мы поговорим о большом путешествии по морю.",
        "Папа купил большой белый билет, а мама пела по телефону.",
        "Вчера вечером в Москве шёл сильный снег, и все фонари погасли.",
        "Хорошо, что ты пришёл, мы уже давно ждём тебя у окна.",
    ),
    "nl": (
        "Goedemorgen allemaal, vandaag praten we over een mooie reis langs het water.",
        "Mijn buurman bouwt een blauwe boot en vaart vaak over de brede rivier.",
        "Wij hebben gisteren veel vis gegeten bij de oude haven.",
    ),
    "pl": (
        "Dzień dobry, dzisiaj porozmawiamy o pięknej podróży przez góry i lasy.",
        "Babcia upiekła pyszne bułki, a tata pomógł mamie posprzątać pokój.",
        "Wczoraj wieczorem szukaliśmy żółtych kwiatów w ogrodzie sąsiada.",
    ),
    "tr": (
        "Günaydın arkadaşlar, bugün güzel bir yolculuk hakkında konuşacağız.",
        "Babam pazardan büyük bir karpuz ve beş tane pembe balon aldı.",
        "Çocuklar bahçede oyun oynuyor, fakat hava çok soğuk.",
    ),
    "hi": (
        "नमस्ते दोस्तों, आज हम एक सुंदर यात्रा के बारे में बात करेंगे।",
        "पापा ने बाज़ार से बड़ा पपीता और पाँच फूल खरीदे।",
    ),
    "cmn-latn-pinyin": (
        "da4 jia1 hao3, jin1 tian1 wo3 men5 lai2 tan2 yi1 ci4 mei3 hao3 de5 lv3 xing2.",
        "ba4 ba5 mai3 le5 yi1 ben3 bai2 se4 de5 shu1, ma1 ma5 zai4 chu2 fang2 zuo4 fan4.",
        "ni3 wei4 shen2 me5 bu4 gao4 su5 wo3? wo3 fei1 chang2 gao1 xing4 neng2 kan4 jian4 ni3.",
        "chuan1 guo4 na4 tiao2 jie1, wang3 you4 zou3, jiu4 neng2 kan4 dao4 yi1 zuo4 da4 qiao2.",
    ),
    # Romanised, as it sounds; espeak-ng reads it by rules like those of Spanish.
    "ja-romaji": (
        "ohayou gozaimasu, kyou wa umi made no tabi ni tsuite hanashimasu.",
        "haha wa maiban pan to mame o tabemasu, chichi wa biiru o nomimasu.",
        "sono boushi wa totemo kirei desu ne, doko de kaimashita ka?",
        "bokutachi wa ashita no asa, eki no mae de matte imasu.",
        "fuyu ni naru to, yama mo mura mo masshiro ni narimasu.",
    ),
    "ar": (
        "صباح الخير جميعا، اليوم نتحدث عن رحلة جميلة إلى البحر.",
        "باب البيت مفتوح، وأمي تطبخ الفول مع البصل في المطبخ.",
        "من فضلك، أين المكتبة القديمة؟ أظن أنها بعيدة.",
    ),
    "sv": (
        "God morgon allihopa, i dag ska vi prata om en vacker resa över havet.",
        "Min mamma bakar bröd och pappa målar båten blå vid bryggan.",
    ),
    "ro": (
        "Bună dimineața tuturor, astăzi vorbim despre o călătorie frumoasă la mare.",
        "Mama a pus pâinea pe masă, iar fratele meu a fugit după mingea albă.",
    ),
    "id": (
        "Selamat pagi semuanya, hari ini kita berbicara tentang perjalanan yang indah.",
        "Bapak membeli buku biru, pisang, dan sebuah payung di pasar pagi.",
    ),
}
_WEIGHT: Final = {"en-us": 5.0, "en-gb-x-rp": 2.0, "it": 2.0, "es": 1.5, "fr": 1.5, "de": 1.5}
_CONSONANTS: Final = (*"pbmfvtdnslrkgwhz", "sh", "ch", "st", "br")
_VOWELS: Final = ("a", "e", "i", "o", "u", "ee", "oo", "ah", "ai", "ow")


def pick_language(rng: np.random.Generator) -> str:
    """Draw a language; English and the large European ones come more often."""
    names = list(SENTENCES)
    weights = np.array([_WEIGHT.get(name, 1.0) for name in names])
    return str(rng.choice(names, p=weights / weights.sum()))


def pick_text(language: str, rng: np.random.Generator) -> str:
    """Draw something to say: a sentence, its words in disorder, numbers, or bare syllables."""
    kind = rng.random()
    sentences = SENTENCES[language]
    if kind < 0.45:
        return str(rng.choice(sentences))
    if kind < 0.80:
        words = " ".join(sentences).replace("?", ",").split()
        return " ".join(rng.choice(words, size=int(rng.integers(3, 12)))) + "."
    if kind < 0.88 and "pinyin" not in language:
        return ", ".join(str(n) for n in rng.integers(0, 10_000, size=int(rng.integers(1, 4))))
    if "pinyin" in language:
        return str(rng.choice(sentences))
    return " ".join(_pseudo_word(rng) for _ in range(int(rng.integers(3, 9))))


def _pseudo_word(rng: np.random.Generator) -> str:
    """Two or three open syllables, which any language's letter rules can read."""
    return "".join(
        str(rng.choice(_CONSONANTS)) + str(rng.choice(_VOWELS))
        for _ in range(int(rng.integers(1, 4)))
    )
