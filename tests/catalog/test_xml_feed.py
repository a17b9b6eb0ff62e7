"""Products of an XML feed are rows, and a changed value leaves every other byte."""

import pytest

from hangtag.catalog.xml_feed import edit_feed, read_feed
from hangtag.errors import CatalogError

FEED = b"""<?xml version="1.0" encoding="utf-8"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0">
<channel><title>The shop</title>
<item>
  <title>page</title><g:title><![CDATA[Soft & warm]]></g:title>
  <g:id>A1</g:id>
  <g:product_type>Wear &gt; Tops &gt; Caf\xc3\xa9</g:product_type>
  <g:image_link>https://x.org/1.jpg?a=1&amp;b=2</g:image_link>
  <g:additional_image_link>https://x.org/2.jpg</g:additional_image_link>
  <g:additional_image_link>https://x.org/3.jpg</g:additional_image_link>
  <g:shipping><g:country>DE</g:country><g:price>4.90</g:price></g:shipping>
</item>
<item><g:id x="a>b">A2</g:id><g:title/></item>
</channel></rss>
"""


def read_texts(data: bytes) -> list[dict[str, str]]:
    return [{column: value.text for column, value in each.values.items()} for each in read_feed(data, "f").products]


def test_elements_are_columns() -> None:
    assert read_texts(FEED) == [
        {
            "title": "Soft & warm",
            "id": "A1",
            "product_type": "Wear > Tops > Café",
            "image_link": "https://x.org/1.jpg?a=1&b=2",
            "additional_image_link": "https://x.org/2.jpg,https://x.org/3.jpg",
            "shipping": "",
        },
        {"id": "A2", "title": ""},
    ]
    assert [product.line for product in read_feed(FEED, "f").products] == [4, 13]


def test_only_the_changed_value_differs() -> None:
    changes = {(0, "product_type"): "Bags < Größe", (0, "title"): "a ]]&", (1, "product_type"): "Bags"}
    edited, refused = edit_feed(FEED, "f", changes)
    assert refused == {}
    assert edited == (
        FEED.replace("Wear &gt; Tops &gt; Café".encode(), "Bags &lt; Größe".encode())
        .replace(b"Soft & warm", b"a ]]&")
        .replace(b"<g:title/></item>", b"<g:title/><g:product_type>Bags</g:product_type></item>")
    )


REPEATED = b"""<rss xmlns:g="x"><item><g:id>1</g:id>
<g:product_type>Wear &gt; Tops, Sale</g:product_type><g:brand>B</g:brand>
<g:product_type><![CDATA[ New ]]></g:product_type>
<g:product_type>Old</g:product_type><g:note>a</g:note><g:note><b/></g:note></item></rss>
"""


def test_of_a_repeated_element_only_the_changed_one_differs() -> None:
    assert read_texts(REPEATED)[0]["product_type"] == "Wear > Tops, Sale,New,Old"
    changes = {(0, "product_type"): "Bags > Totes, Sale,New,Older"}
    edited, refused = edit_feed(REPEATED, "f", changes)
    assert refused == {}
    assert edited == REPEATED.replace(b"Wear &gt; Tops", b"Bags &gt; Totes").replace(b">Old<", b">Older<")
    edited, refused = edit_feed(REPEATED, "f", {(0, "product_type"): "Wear > Tops, Sale,Newer,Old"})
    assert edited == REPEATED.replace(b"<![CDATA[ New ]]>", b"<![CDATA[Newer]]>")
    # One part less belongs to no element for sure.
    edited, refused = edit_feed(REPEATED, "f", {(0, "product_type"): "Bags,New", (0, "note"): "b,c"})
    assert set(refused) == {(0, "product_type"), (0, "note")}
    assert edited == REPEATED


def test_what_cannot_be_changed_is_refused() -> None:
    changes = {(0, "shipping"): "x", (0, "additional_image_link"): "y", (1, "id"): "A3"}
    edited, refused = edit_feed(FEED, "f", changes)
    assert set(refused) == set(changes) - {(1, "id")}
    assert edited == FEED.replace(b">A2<", b">A3<")


@pytest.mark.parametrize(
    "data",
    [b"", b"<rss>", b"<a><b/></a>", b'<!DOCTYPE a [<!ENTITY x "y">]><rss><item><id>&x;</id></item></rss>'],
)
def test_what_is_no_feed_is_refused(data: bytes) -> None:
    with pytest.raises(CatalogError, match="The feed f"):
        read_feed(data, "f")


@pytest.mark.parametrize("tag", [b"<g:title/>", b'<g:title lang="a/b"  />', b"<g:title></g:title>"])
def test_an_empty_element_takes_a_value(tag: bytes) -> None:
    edited, refused = edit_feed(FEED.replace(b"<g:title/>", tag), "f", {(1, "title"): "Soft & red"})
    opening = tag.removesuffix(b"</g:title>").replace(b"/>", b">").replace(b"  >", b">")
    assert refused == {}
    assert edited == FEED.replace(b"<g:title/>", opening + b"Soft &amp; red</g:title>")
