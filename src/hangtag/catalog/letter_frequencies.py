"""Compute how likely words are a text of some language, by the letters that languages have and their neighbors.

The frequencies are approximate: they fall with a letter's rank. They tell encodings apart, not languages.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

# Regions whose languages an encoding is made for; of another's it lacks letters.
NATIVE = {
    "western": ("cp1252", "iso8859_15", "mac_roman", "cp850", "cp1254", "cp1257", "utf-8"),
    "central": ("cp1250", "iso8859_2", "cp852", "utf-8"),
    "turkish": ("cp1254", "utf-8"),
    "baltic": ("cp1257", "utf-8"),
}
FOREIGN = -4.0
# The letters of languages from frequent to rare, by the regions whose words stand in one table.
REGIONS = {
    "western": (
        "etaoinsrhldcumfpgwybvkxjzq",
        "esaitnrulodcpmévqfbghjàxèêyzçôâîûœwkëïùüÿæ",
        "enisratdhulcgmobwfküzväpößjyqx",
        "eaosrnidltcumpbgvyqóíhfzjéáñxúükw",
        "eaionlrtscdupmvghfbqzàòùèéìyxkwjî",
        "aeosrindmutclpvgqbfhãçéáíjzóêâúàxkwyüõ",
        "earntsildomkgväfhupåöbcyjxwzéqà",
        "erntaisldogkmvfubhpåøyjæcwzéxqóò",
        "enatirodslghvkmubpwjzcfëéïxyqèö",
    ),
    "central": (
        "aioezrnwsctykdpmuljłbgęhąóżśćfńźqvx",
        "oeantvsilkrdpímuázjyěcbéhřýžčšůfgúňxťóďwq",
        "oaeinrvtsldkcmpuízbáyjčýhéšžúťľgfňôďäóxĺŕwq",
        "eatlnsokrizáémgydvbhőjöpufócűíúüxwqä",
        "aioenrsjtukvdlmpgzbcčšžćfhđxywq",
        "eaiurntlcsodpămșştțţfvgbîâzhxjkwyq",
    ),
    "turkish": ("aeinrlıdkmuytsbouşzgçğvchöpfüjâîûwxq",),
    "baltic": (
        "iasteruonkmlpdvgėjbyšžųcąįčūzfhęwxq",
        "aisteurnkmolpdvājzībēcšgņļūķžģčfhxwyqōŗ",
        "aeistlunokdmrvgjhpäõbüöfšzžcwyxq",
    ),
    "cyrillic": (
        "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
        "оанивертсклудмпзяьбгчйхцїжєіюшщфґ",
        "аиоентрсвлкдпмзгяъубчцжщхйфшюьѝ",
        "аоиентрсвуклдпмјзгбчшцњжхљћђфџ",
    ),
    "greek": ("ατοιενσρκπςυμλίόάγέήδηώχθύφβξζψϊΐϋΰ", "αοιετσνηυρπκμλςωδγχθφβξζψ"),
    "hebrew": ("יוהלרבתמאשנעםדקחפסכגטצןזךףץ",),
    "arabic": ("اليمونرتبةعدسفهكقأحجشطصىخإذزثئءضغآظؤـ",),
}
THAI = "".join(map(chr, (*range(0xE01, 0xE3B), *range(0xE40, 0xE47))))
RARENESS_A_RANK = 0.11
# Characters that texts of shops have often, beside the thousands that may stand there.
FREQUENT = {
    "chinese": "的一是不了在人有这中来上大为和地个到时要出会可生子年发后作用多方色红黑白蓝绿灰黄粉紫金银男"
    "女童装衣裤裙鞋包帽袜衫袖长短款"
    "式夹克外套毛牛仔棉运动休闲新品尺码号裳巾皮带表鏡镜首饰内连身高低跟腰领花纹格条印背心西服夏冬春秋季",
    "traditional": "的一是不了在人有這中來上大為和地個到時要出會可生子年發後作用多方色紅黑白藍綠灰黃粉紫金銀男"
    "女童裝衣褲裙鞋包帽襪衫袖長短款"
    "式夾克外套毛牛仔棉運動休閒新品尺碼號裳巾皮帶錶鏡首飾內連身高低跟腰領花紋格條印背心西服夏冬春秋季",
    "japanese": "日一人年大中長出本分女男子用色赤青白黒緑紺茶黄金銀靴下帽着服半袖丈綿革鞄袋小物新品柄無地花夏冬春秋",
    "korean": "이다에의는로하을가고지서한은기으대사시를리도인스일셔츠바지원피신발모자양말재킷여성의류청반"
    "팔목색빨간파란흰검정남운동화가방치마"
    "드레트코니블라우점퍼긴소매가죽벨복아용품",
}
SYMBOLS = "«»“”„‘’–—…™®©€£¥°½¼¾×²³·•№§±´µ\xa0、。「」『』（）・：！？％＆ー～　【】〜"
LIKELY_SYMBOL, ODD_SYMBOL, NO_CHARACTER = -5.5, -9.0, -14.0
OTHER_LETTER, LETTER_OF_REGION = -10.0, -7.5
_LETTER = r"[^\W\d_²³¹¼½¾]"
_WORDS = re.compile(f"{_LETTER}+")
_JUMP_TO_CAPITALS = -7.0
_BETWEEN_LETTERS = re.compile(rf"(?<={_LETTER})([^\w\s\x00-\x7f\u0e31-\u0e4e]|[²³¹¼½¾])(?={_LETTER})")
_BETWEEN = {"¼": -8.0, "½": -8.0, "¾": -8.0, "’": -2.0, "‘": -2.0, "´": -2.0, "·": -1.0, "・": 0.0, "、": 0.0}
_OTHER_SCRIPT = r"(?:[^\W\d_²³¹¼½¾A-Za-zÀ-ɏḀ-ỿ]|[\u0e31-\u0e4e])"
# What stands in words of hardly any language, and its cost.
_ODD_NEIGHBORS = {
    re.compile(rf"(?<!{_LETTER})[²³¼½¾°±·•€£¥©®§µ›»‹’](?=[a-zß-ɏ])"): -6.0,
    re.compile("(?<!m)[²³]"): -4.0,
    re.compile(rf"[A-Za-z](?={_OTHER_SCRIPT})|{_OTHER_SCRIPT}(?=[A-Za-z])"): -6.0,
    re.compile(r"\d(?=[ªº\u00c0-\u2e7f])|[\u00c0-\u2e7f](?=\d)"): -2.0,
    # Portuguese has it before e alone.
    re.compile("õ(?!e)"): -2.0,
    # Letters that Greek and Hebrew write at the end of words alone, and the one that stands everywhere else.
    re.compile(r"[ςךםןףץ](?=[^\W\d_])|σ(?![^\W\d_])"): -7.0,
}


def score_text(text: str, encoding: str) -> float:
    """Return the logarithm of how likely words are a text of some language.

    Args:
        text: Words, one a line.
        encoding: The encoding in which they are these words.
    """
    counts = Counter(text)
    symbols = sum(count * _score_symbol(character) for character, count in counts.items() if not character.isalpha())
    letters = {character: count for character, count in counts.items() if character.isalpha()}
    best = max(
        sum(count * score(character) for character, count in letters.items())
        + FOREIGN * (encoding not in NATIVE.get(region, (encoding,)))
        for region, score in _list_languages()
    )
    return best + symbols + _score_capitals(text) + _score_neighbors(text)


def _score_symbol(character: str) -> float:
    if character.isascii():
        return 0.0
    if character in SYMBOLS:
        return LIKELY_SYMBOL
    if "\u0e31" <= character <= "\u0e4e":
        # The marks of Thai are no letters to Python.
        return -4.0
    return NO_CHARACTER if not character.isprintable() else ODD_SYMBOL


def _score_capitals(text: str) -> float:
    """Return what capitals cost: behind small letters, in words of capitals, or in a text that has no other words."""
    num_capitals, num_others, score = 0, 0, 0.0
    for word in _WORDS.findall(text):
        if word.isascii() or word.lower() == word.upper():
            continue
        num_capitals += word.isupper()
        num_others += not word.isupper()
        score += _JUMP_TO_CAPITALS * sum(a.islower() and b.isupper() for a, b in pairwise(word))
        score -= 3.0 * (word[:2].isupper() and not word.isupper())
    return score - min(2.0 * num_capitals, 1.5 + 2.0 * num_others)


def _score_neighbors(text: str) -> float:
    """Return what is odd in words: symbols between letters, two scripts, letters at digits, last letters elsewhere."""
    score = sum(_BETWEEN.get(symbol, -4.0) for symbol in _BETWEEN_LETTERS.findall(text))
    return score + sum(cost * len(pattern.findall(text)) for pattern, cost in _ODD_NEIGHBORS.items())


@cache
def _list_languages() -> tuple[tuple[str, Callable[[str], float]], ...]:
    """Return the region of each language, and a function that returns the logarithm of how frequent a letter is."""
    languages: list[tuple[str, Callable[[str], float]]] = []
    for region, alphabets in REGIONS.items():
        shared = "".join(alphabets)
        languages += [(region, _make_alphabet(letters, shared)) for letters in alphabets]
    languages.append(("thai", _make_alphabet(THAI, THAI, rareness=0.0)))
    asian = (_score_japanese, _score_chinese, _score_traditional, _score_korean)
    return (*languages, *(("asian", score) for score in asian))


def _make_alphabet(letters: str, shared: str, rareness: float = RARENESS_A_RANK) -> Callable[[str], float]:
    total = math.log(sum(math.exp(-rareness * rank) for rank in range(len(letters))))
    scores = dict.fromkeys(shared, LETTER_OF_REGION)
    scores |= {letter: -rareness * rank - total for rank, letter in enumerate(letters)}

    def score(letter: str) -> float:
        return scores.get(letter.lower(), OTHER_LETTER)

    return score


def _score_character(
    character: str, frequent: str, encoding: str, usual: tuple[int, int], costs: Sequence[float]
) -> float:
    """Return the score of a character by where its encoding has it: the usual ones come first there."""
    if character in frequent:
        return -5.5
    if character.isascii():
        return -6.0
    if not "\u2e80" <= character <= "\uffdc" or "\uff61" <= character <= "\uff9f":
        return OTHER_LETTER
    try:
        first = character.encode(encoding)[0]
    except UnicodeEncodeError:
        return NO_CHARACTER
    return costs[0] if usual[0] <= first <= usual[1] else costs[1]


def _score_japanese(character: str) -> float:
    if "\u3041" <= character <= "\u30fe":
        return -4.7
    if "\uff61" <= character <= "\uff9f":
        return -7.5
    return _score_character(character, FREQUENT["japanese"], "euc_jp", (0xB0, 0xCF), (-9.0, -12.5))


def _score_chinese(character: str) -> float:
    return _score_character(character, FREQUENT["chinese"], "gbk", (0xB0, 0xD7), (-8.7, -12.0))


def _score_traditional(character: str) -> float:
    return _score_character(character, FREQUENT["traditional"], "cp950", (0xA4, 0xC6), (-9.0, -12.5))


def _score_korean(character: str) -> float:
    return _score_character(character, FREQUENT["korean"], "euc_kr", (0xB0, 0xC8), (-8.0, -13.0))
