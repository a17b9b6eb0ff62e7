"""Categories are matched to a public taxonomy by names, parents and product names; what is not certain stays open."""

import pytest

from hangtag.auditing.category_words import CategoryWords
from hangtag.auditing.taxonomy_matching import CategoryMatch, TaxonomyIndex, match_categories
from hangtag.labels.public_taxonomy import PublicCategory, PublicTaxonomy

TREE = """
Wear & Extras
Wear & Extras > Clothing
Wear & Extras > Clothing > Shirts & Tops
Wear & Extras > Clothing > Pants
Wear & Extras > Clothing > Baby & Toddler Clothing > Toddler Socks & Tights
Wear & Extras > Clothing > Outerwear > Coats & Jackets
Wear & Extras > Shoes
Wear & Extras > Extras > Belts
Wear & Extras > Extras > Gloves & Mittens
Wear & Extras > Extras > Arm Warmers & Sleeves
Wear & Extras > Handbag & Wallet Extras
Wear & Extras > Handbags, Wallets & Cases
Wear & Extras > Handbags, Wallets & Cases > Handbags
Cars & Extras
Cars & Extras > Belts
Cars & Extras > Exhaust > Mufflers
Sports & Extras > Boxing > Boxing Gloves
"""


def build_taxonomy(text: str) -> PublicTaxonomy:
    return PublicTaxonomy(tuple(PublicCategory(line, tuple(line.split(" > "))) for line in text.strip().splitlines()))


def match(
    categories: dict[tuple[str | None, ...], list[str]], tree: str = TREE, language: str = ""
) -> dict[tuple[str | None, ...], CategoryMatch]:
    return match_categories(categories, TaxonomyIndex(build_taxonomy(tree), CategoryWords(language)), 0.8)


def propose(*category: str | None, names: tuple[str, ...] = (), tree: str = TREE, language: str = "") -> str | None:
    found = match({category: list(names)}, tree, language)[category].proposed
    return found.category.path[-1] if found else None


@pytest.mark.parametrize(
    ("category", "proposed"),
    [
        (("Clothing", "Shirt"), "Shirts & Tops"),
        (("Clothing", "tops"), "Shirts & Tops"),
        (("Clothing", "Trousers"), "Pants"),
        (("Apparel", "JACKETS"), "Coats & Jackets"),
        (("Wear", "Clothing", "Coat"), "Coats & Jackets"),
        (("Shoe",), "Shoes"),
        (("Clothing", None, "Pant"), "Pants"),
        # A category without subcategories stands for itself at the finer levels.
        (("Shoes", "Shoes", "Shoes"), "Shoes"),
        (("Handbag",), "Handbags"),
    ],
)
def test_names_match_whatever_their_number_synonyms_and_depth(category: tuple[str | None, ...], proposed: str) -> None:
    assert propose(*category) == proposed


def test_a_category_in_two_parts_of_the_taxonomy_stays_open_with_both_as_candidates() -> None:
    [found] = match({("Belts",): []}).values()
    assert found.proposed is None
    assert {each.category.path[0] for each in found.candidates} == {"Wear & Extras", "Cars & Extras"}


def test_its_parent_decides_unless_that_stands_everywhere() -> None:
    assert propose("Cars", "Belts") == propose("Wear", "Belts") == "Belts"
    assert match({("Cars", "Belts"): []})["Cars", "Belts"].proposed.category.path[0] == "Cars & Extras"  # type: ignore[union-attr]
    assert propose("Extras", "Belts") is None


def test_the_parts_in_which_the_other_categories_are_decide() -> None:
    others: dict[tuple[str | None, ...], list[str]] = {
        ("Clothing", "Shirts"): ["Shirt"] * 500,
        ("Shoes", "Shoes"): ["Shoe"] * 500,
    }
    found = match({**others, ("Extras", "Belts"): ["Brown belt"] * 3, ("Extras", "Mufflers"): ["Wool muffler"] * 3})
    belts, mufflers = found["Extras", "Belts"], found["Extras", "Mufflers"]
    assert belts.proposed is not None
    assert belts.proposed.category.path[0] == "Wear & Extras"
    assert mufflers.proposed is None


def test_a_word_that_may_belong_to_another_is_not_certain() -> None:
    # Sleeves of arms, tights of toddlers.
    assert propose("Extras", "Sleeve") is None
    assert propose("Tights", names=("Black tights",) * 5) is None


def test_a_kind_of_something_needs_product_names() -> None:
    assert propose("Footwear", "Sports-Shoes", names=("Red shoes",) * 5) == "Shoes"
    assert propose("Footwear", "Sports-Shoes", names=("Red runners",) * 5) is None


def test_what_has_no_match_has_no_candidate() -> None:
    [found] = match({("Kurta",): ["Blue kurta"]}).values()
    assert (found.proposed, list(found.candidates)) == (None, [])


def test_product_names_are_evidence() -> None:
    doubtful, sure = ("Wear", "Overshirts"), ("Wear", "Undershirts")
    found = match({doubtful: ["Red thing"] * 9, sure: ["Red shirt"] * 9})
    assert found[doubtful].proposed is None
    assert found[sure].proposed is not None
    assert "100% of product names" in found[sure].candidates[0].evidence


def test_a_parent_that_is_matched_stands_in_for_a_category_without_a_match_but_not_the_top() -> None:
    found = match({("Pants", "Ulster"): []})["Pants", "Ulster"]
    assert found.proposed is not None
    assert found.proposed.evidence.startswith("only its parent Pants")
    assert propose("Wear", "Ulster") is None


def test_a_sure_match_of_its_own_is_taken_below_that_of_its_parent() -> None:
    assert propose("Clothing", "Chinos") == "Pants"
    assert propose("Clothing", "Ulster") == "Clothing"


def test_other_languages_have_their_own_plurals() -> None:
    tree = "Bekleidung & Zubehör > Schuhe\nBekleidung & Zubehör > Handtaschen & Geldbörsen\n"
    assert propose("Schuh", tree=tree, language="de") == "Schuhe"
    assert propose("Bekleidung", "Handtasche", tree=tree, language="de") == "Handtaschen & Geldbörsen"
    french = "Vêtements > Chaussures\nVêtements > Sacs et portefeuilles\n"
    assert propose("Vêtements", "Sac", tree=french, language="fr") == "Sacs et portefeuilles"
    assert (
        propose("Vêtements", "Chaussures de sport", names=("Chaussure",) * 4, tree=french, language="fr")
        == "Chaussures"
    )
    # Letters without a stemmer are compared as they are.
    assert propose("鞋", tree="服装 > 鞋\n服装 > 包\n", language="zh") == "鞋"


def test_synonyms_are_english_only() -> None:
    assert propose("Trousers", language="nl") is None
    assert propose("Trousers", language="en") == "Pants"
