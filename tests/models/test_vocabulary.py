"""Test the vocabulary and the encoding of product names."""

from hypothesis import given
from hypothesis import strategies as st

from hangtag.models.text import MAX_WORDS, Vocabulary

VOCABULARY = Vocabulary(("blue", "t", "shirt", "für"))


def test_the_vocabulary_has_words_of_two_or_more_names_in_alphabetical_order() -> None:
    names = ["Blue T-Shirt", "blue shoe", "Red SHIRT", "Red, red; red", "jeans jeans jeans", ""]
    assert Vocabulary.learn(names).words == ("blue", "red", "shirt")
    assert Vocabulary.learn(names, min_count=1).words == ("blue", "jeans", "red", "shirt", "shoe", "t")
    assert Vocabulary.learn(names, min_count=3).words == ()
    assert Vocabulary.learn([]).words == ()


def test_the_order_of_the_names_does_not_matter() -> None:
    names = ["a b", "b c", "c d", "d a", "e"]
    assert Vocabulary.learn(names) == Vocabulary.learn(reversed(names)) == Vocabulary(("a", "b", "c", "d"))


def test_known_words_become_indices_and_unknown_words_are_skipped() -> None:
    words = VOCABULARY.encode(["A blue T-shirt", "SHIRT für Für", "unheard of", "", None])
    assert (words.shape, str(words.dtype)) == ((5, MAX_WORDS), "int32")
    assert words[:, :4].tolist() == [[1, 2, 3, 0], [3, 4, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    assert not words[:, 4:].any()


def test_no_names_return_no_rows() -> None:
    assert VOCABULARY.encode([]).shape == (0, MAX_WORDS)


def test_a_long_name_is_encoded_by_its_first_distinct_known_words() -> None:
    many = Vocabulary(tuple(f"w{place:02}" for place in range(MAX_WORDS + 1)))
    long = "new " * 50 + "w01 w01 " + " ".join(reversed(many.words))
    wanted = [2, *(place for place in range(MAX_WORDS + 1, 0, -1) if place != 2)]
    assert many.encode([long])[0].tolist() == wanted[:MAX_WORDS]


@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_can_be_encoded(names: list[str]) -> None:
    vocabulary = Vocabulary.learn(names, min_count=1)
    assert list(vocabulary.words) == sorted(set(vocabulary.words))
    words = vocabulary.encode(names)
    assert words.min(initial=0) >= 0
    assert set(words[words > 0].tolist()) <= set(range(1, len(vocabulary.words) + 1))
    for name, row in zip(names, words, strict=True):
        found = {vocabulary.words[place - 1] for place in row if place}
        own = set(Vocabulary.learn([name], min_count=1).words)
        assert found <= own
        assert found == own or row.all()
