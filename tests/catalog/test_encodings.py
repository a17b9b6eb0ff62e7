"""The encoding of a table is found by its words, never guessed among equals, and kept where cells are changed."""

import codecs

import pytest

from hangtag.catalog.csv_editor import NOT_REWRITTEN, edit_cells
from hangtag.catalog.csv_parser import parse_table
from hangtag.errors import CatalogError

WORDS = {
    "cp1252": ["Größe", "Gürtel", "Röcke", "für Männer"],
    "iso8859_15": ["œillets", "à lacets", "cœur", "crème brûlée"],
    "mac_roman": ["crème", "été", "façon", "élégant"],
    "cp850": ["Größe", "Gürtel", "Röcke", "für Männer"],
    "cp1250": ["żółty", "płaszcz męski", "spódnica różowa", "skarpetki bawełniane"],
    "iso8859_2": ["żółty", "płaszcz męski", "bielizna świąteczna", "wąski"],
    "cp852": ["żółty", "płaszcz męski", "spódnica różowa", "skarpetki bawełniane"],
    "cp1251": ["рубашка", "ПЛАТЬЕ", "Обувь", "брюки женские"],
    "koi8_u": ["рубашка", "платье", "обувь", "брюки женские", "куртка зимняя", "сумка"],
    "iso8859_5": ["рубашка", "платье", "обувь", "брюки женские"],
    "mac_cyrillic": ["рубашка", "платье", "обувь", "брюки женские"],
    "cp866": ["рубашка", "платье", "обувь", "брюки женские"],
    "cp1253": ["φόρεμα", "παπούτσια", "ΠΑΝΤΕΛΟΝΙ", "τσάντα μαύρη"],
    "cp1254": ["kırmızı", "ayakkabı", "gömlek yeşil", "kadın giyim"],
    "cp1255": ["חולצה", "שמלה", "נעליים", "מכנסיים", "לנשים"],
    "cp1256": ["قميص", "فستان", "حذاء", "حقيبة", "للرجال والنساء"],
    "cp1257": ["suknelė", "kelnės", "marškiniai", "šalikas žalias"],
    "cp874": ["เสื้อ", "กางเกง", "รองเท้า", "กระโปรง"],
    "cp932": ["シャツ", "表示能力", "ワンピース", "紺色のズボン"],
    "euc_jp": ["シャツ", "靴下", "ワンピース", "紺色のズボン"],
    "gb18030": ["衬衫", "红色连衣裙", "牛仔裤", "男鞋"],
    "cp950": ["襯衫", "紅色連衣裙", "牛仔褲", "男鞋"],
    "cp949": ["셔츠", "빨간 원피스", "청바지", "신발"],
}


def make_table(words: list[str]) -> str:
    return "sku,kind,name\r\n" + "".join(f"A{number},{word},no {number}\r\n" for number, word in enumerate(words))


@pytest.mark.parametrize("encoding", WORDS)
def test_the_encoding_is_found_by_the_words_and_kept(encoding: str) -> None:
    words = WORDS[encoding]
    data = make_table(words).encode(encoding)
    table = parse_table(data, "t.csv")
    assert table.cells[1] == words
    assert [repair.line for repair in table.repairs] == [0]
    assert table.inferred_encoding in table.repairs[0].reason
    assert "--encoding" in table.repairs[0].reason
    edited = edit_cells(data, table, {0: {"kind": words[-1]}, 1: {"kind": "\U0001f457"}})
    expected = {} if encoding == "gb18030" else {1}
    assert set(edited.refused) == set(expected)
    changed = make_table([words[-1], "\U0001f457" if encoding == "gb18030" else words[1], *words[2:]])
    assert edited.data == changed.encode(encoding)


@pytest.mark.parametrize(
    "words", [["Café"], ["Señor"], ["5½"], ["Levi’s", "Dri-FIT™", "Nike®", "£20", "30°C"], ["niño", "pequeño"]]
)
def test_a_few_western_letters_are_windows_1252(words: list[str]) -> None:
    assert parse_table(make_table(words).encode("cp1252"), "t.csv").cells[1] == words


@pytest.mark.parametrize(("word", "encoding", "others"), [("èerná", "cp1252", "černá"), ("koń", "cp1250", "koñ")])
def test_what_is_as_likely_in_several_encodings_is_refused_with_a_sample(word: str, encoding: str, others: str) -> None:
    data = make_table([word]).encode(encoding)
    with pytest.raises(CatalogError) as caught:
        parse_table(data, "shop.csv")
    message = str(caught.value)
    assert repr(word) in message
    assert repr(others) in message
    assert "cp1250" in message
    assert "--encoding" in message
    assert parse_table(data, "shop.csv", encoding=encoding).cells[1] == [word]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8"])
@pytest.mark.parametrize("has_mark", [False, True])
@pytest.mark.parametrize("words", [["Рубашка", "Юбка"], ["一二一", "上衣　一"], ["Café"], ["plain", "x"]])
def test_unicode_with_and_without_a_mark(encoding: str, has_mark: bool, words: list[str]) -> None:
    text = make_table(words)
    data = ("\ufeff" * has_mark + text).encode(encoding)
    table = parse_table(data, "t.csv")
    assert (table.columns, table.cells[1], table.repairs) == (("sku", "kind", "name"), words, [])
    edited = edit_cells(data, table, {0: {"kind": "Ω"}})
    assert edited.data == ("\ufeff" * has_mark + text.replace(words[0], "Ω", 1)).encode(encoding)


def test_headings_in_chinese_without_a_mark() -> None:
    data = "编号,种类\n1,衬衫\n2,一二一\n".encode("utf-16-le")
    assert parse_table(data, "t.csv").columns == ("编号", "种类")


def test_letters_that_an_encoding_has_twice_keep_their_bytes() -> None:
    data = "sku,kind,name\n1,シャツ,".encode("cp932") + b"\x87\x90\n2," + "靴下,ワンピース\n".encode("cp932")
    table = parse_table(data, "t.csv")
    assert table.rows[0]["name"] == "≒"
    assert edit_cells(data, table, {0: {"kind": "靴下"}}).data == data.replace(
        "シャツ".encode("cp932"), "靴下".encode("cp932")
    )


def test_an_encoding_with_states_is_read_and_not_written() -> None:
    data = make_table(["シャツ", "靴下"]).encode("utf-7")
    table = parse_table(data, "t.csv", encoding="utf-7")
    assert table.cells[1] == ["シャツ", "靴下"]
    edited = edit_cells(
        make_table(["a", "靴下"]).encode("iso2022_jp"),
        parse_table(make_table(["a", "靴下"]).encode("iso2022_jp"), "t.csv", encoding="iso2022_jp"),
        {0: {"kind": "靴下"}},
    )
    assert edited.data in (
        make_table(["a", "靴下"]).encode("iso2022_jp"),
        make_table(["靴下"] * 2).encode("iso2022_jp"),
    )
    assert "{encoding}" in NOT_REWRITTEN


@pytest.mark.parametrize("name", ["utf-16", "UTF-8-SIG", "utf_32"])
def test_a_named_encoding_with_a_mark(name: str) -> None:
    data = make_table(["Café"]).encode(name)
    table = parse_table(data, "t.csv", encoding=name)
    assert edit_cells(data, table, {0: {"kind": "Thé"}}).data == make_table(["Thé"]).encode(name)


@pytest.mark.parametrize("name", ["nonesuch", "rot13", "base64", "a\0b"])
def test_there_is_no_such_encoding(name: str) -> None:
    with pytest.raises(CatalogError, match="no such encoding"):
        parse_table(b"sku,kind\n1,A\n", "t.csv", encoding=name)


def test_a_mark_of_another_encoding_is_refused() -> None:
    with pytest.raises(CatalogError, match="byte order mark of another encoding"):
        parse_table(codecs.BOM_UTF8 + b"sku,kind\n1,A\n", "t.csv", encoding="cp1251")


def test_a_wrong_byte_of_few_letters_is_no_other_encoding() -> None:
    table = parse_table("sku,kind\n1,Größe\n2,Röcke \n".encode() + b"3,X\xff\xfe\n", "t.csv")
    assert table.cells[1][:2] == ["Größe", "Röcke "]
