"""Public taxonomies are read in every form that they are given in, and edited mappings with every mistake refused."""

import json
from pathlib import Path

import pytest

from hangtag.errors import CatalogError, SettingsError
from hangtag.labels.public_taxonomy import PublicTaxonomy, read_public_taxonomy, read_taxonomy_mapping

GOOGLE = """# Google_Product_Taxonomy_Version: 2021-09-21
1 - Clothes & Things
20 - Clothes & Things > Tops
300 - Clothes & Things > Tops > T-Shirts - short
"""
SHOPIFY = """# Shopify Product Taxonomy - Categories: 2024-07
# Format: {GID} : {Ancestor name} > ... > {Category name}

gid://shopify/TaxonomyCategory/xx       : Clothes & Things
gid://shopify/TaxonomyCategory/xx-1     : Clothes & Things > Tops
gid://shopify/TaxonomyCategory/xx-1-12  : Clothes & Things > Tops > T-Shirts - short
"""
PATHS = [("Clothes & Things",), ("Clothes & Things", "Tops"), ("Clothes & Things", "Tops", "T-Shirts - short")]


def read(tmp_path: Path, content: str | bytes, name: str = "taxonomy.txt") -> PublicTaxonomy:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_public_taxonomy(path)


def make_shopify_json(**changed: object) -> str:
    categories = [
        {"id": f"gid://{number}", "level": 0, "name": names[-1], "full_name": " > ".join(names), "children": []}
        | changed
        for number, names in enumerate(PATHS)
    ]
    verticals = [
        {"name": "a", "prefix": "a", "categories": categories[:1]},
        {"name": "b", "categories": categories[1:]},
    ]
    return json.dumps({"version": "2024-07", "verticals": verticals})


def test_google_s_file_has_ids_and_a_comment(tmp_path: Path) -> None:
    taxonomy = read(tmp_path, GOOGLE)
    assert [(each.id, each.path) for each in taxonomy.categories] == list(zip(("1", "20", "300"), PATHS, strict=True))
    assert taxonomy.version == "Google_Product_Taxonomy_Version: 2021-09-21"
    assert taxonomy.by_id["20"] is taxonomy.by_path["Clothes & Things > Tops"]


def test_a_file_without_ids_has_paths_alone(tmp_path: Path) -> None:
    taxonomy = read(tmp_path, "\n".join(" > ".join(names) for names in PATHS))
    assert [(each.id, each.path) for each in taxonomy.categories] == [("", names) for names in PATHS]
    assert (taxonomy.by_id, list(taxonomy.by_path)) == ({}, [" > ".join(names) for names in PATHS])


def test_shopify_s_text_and_json_are_the_same_categories(tmp_path: Path) -> None:
    text = read(tmp_path, SHOPIFY)
    assert [each.path for each in text.categories] == PATHS
    assert text.categories[2].id == "gid://shopify/TaxonomyCategory/xx-1-12"
    assert [(each.id, each.path) for each in read(tmp_path, make_shopify_json(), "categories.json").categories] == [
        (f"gid://{number}", names) for number, names in enumerate(PATHS)
    ]


@pytest.mark.parametrize(
    "content",
    [
        GOOGLE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + GOOGLE.encode(),
        GOOGLE.encode("utf-16"),
        GOOGLE.replace("\n", "\n\n").replace("# ", "  #  ").encode(),
    ],
)
def test_line_ends_marks_and_blank_lines_change_nothing(tmp_path: Path, content: bytes) -> None:
    assert [each.path for each in read(tmp_path, content).categories] == PATHS
    assert read(tmp_path, content).version == "Google_Product_Taxonomy_Version: 2021-09-21"


@pytest.mark.parametrize(
    ("name", "language"),
    [("taxonomy-with-ids.de-DE.txt", "de"), ("taxonomy.fr-CH.txt", "fr"), ("de/categories.txt", "de"), ("a.txt", "")],
)
def test_the_language_is_that_of_the_file_s_name_or_folder(tmp_path: Path, name: str, language: str) -> None:
    (tmp_path / "folder" / "de").mkdir(parents=True)
    assert read(tmp_path / "folder", "166 - Bekleidung > Schuhe", name).language == language


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (GOOGLE + "Clothes > Hats\n", "t.txt", "Line 5 of the taxonomy has no id"),
        ("Clothes > Hats\n7 - Clothes\n", "t.txt", "Line 2 of the taxonomy has an id"),
        (
            GOOGLE + "20 - Clothes & Things > Hats\n",
            "t.txt",
            "Line 5 of the taxonomy has a category that stands above: 20",
        ),
        (GOOGLE + "21 - Clothes & Things > Tops\n", "t.txt", "Line 5 of the taxonomy has a category that stands above"),
        ("7 - Clothes > > Hats\n", "t.txt", "Line 1 of the taxonomy has a category without a name"),
        ("Dear all,\nhere is the file.\n", "t.txt", "no category paths"),
        ("# only a comment\n", "t.txt", "no category paths"),
        ("- id: aa\n  name: Apparel\n", "aa.yml", "format is not read"),
        ("{broken", "t.json", "not JSON"),
        ("{}", "t.json", "no categories"),
        (make_shopify_json(full_name=None), "t.json", "Category 1 of the taxonomy lacks"),
    ],
)
def test_other_files_are_refused_with_the_line(tmp_path: Path, content: str, name: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read(tmp_path, content, name)


def test_a_missing_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"gone\.txt"):
        read_public_taxonomy(tmp_path / "gone.txt")


# Edited mappings


def read_mapping(tmp_path: Path, *lines: str) -> dict[tuple[str | None, ...], str | None]:
    taxonomy = read(tmp_path, GOOGLE)
    path = tmp_path / "mapping.csv"
    path.write_text("\n".join(["kind,sort,items,proposed_id,proposed_path,candidates", *lines]), encoding="utf-8")
    found = read_taxonomy_mapping(path, "--taxonomy-mapping", ["kind", "sort"], taxonomy, ["NA"])
    return {category: match.id if match else None for category, match in found.matches.items()}


def test_an_id_or_a_path_is_enough_and_neither_is_no_category(tmp_path: Path) -> None:
    top = "Clothes & Things > Tops"
    assert read_mapping(tmp_path, "A,B,1,20,,x", f"A,C,1,,{top},", f"A,,1,20,{top},", "D,E,1,,,", "'=F,G,1,1,,") == {
        ("A", "B"): "20",
        ("A", "C"): "20",
        ("A", None): "20",
        ("D", "E"): None,
        ("=F", "G"): "1",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A,B,1,999,,", r"Line 3 of .*mapping\.csv has a proposed_id that the taxonomy does not have.*Received: '999'"),
        ("A,B,1,,Clothes > Hats,", "Line 3 of .* has a proposed_path that the taxonomy does not have"),
        (
            "A,B,1,1,Clothes & Things > Tops,",
            "Line 3 of .* names two categories: proposed_id is that of Clothes & Things",
        ),
        ("X,Y,1,1,,", "Line 3 of .* has a category that stands above.*X > Y"),
    ],
)
def test_mistakes_of_a_hand_are_errors_with_the_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_mapping(tmp_path, "X,Y,3,20,,", line)


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text("kind,sort\nA,B\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="no column proposed_id"):
        read_taxonomy_mapping(path, "--taxonomy-mapping", ["kind", "sort"], PublicTaxonomy(()), [])


def test_a_table_of_products_is_no_taxonomy(tmp_path: Path) -> None:
    table = "Handle,Title,Type\nred-shirt,Red shirt,Apparel > Shirts\nblue-shirt,Blue shirt,Apparel > Shirts\n"
    with pytest.raises(CatalogError, match=r"Line 2 of the taxonomy is below a category that the file does not have"):
        read(tmp_path, table)
