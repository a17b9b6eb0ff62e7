"""The properties of the table reader, with ten thousand examples each."""

from collections.abc import Callable

import pytest
import test_csv_editor
import test_csv_parser
from hypothesis import HealthCheck, settings

MANY = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
PROPERTIES = (
    test_csv_parser.test_what_pythons_writer_writes_comes_back,
    test_csv_parser.test_what_a_writer_with_backslashes_writes_comes_back,
    test_csv_parser.test_what_a_database_writes_into_a_file_comes_back,
    test_csv_parser.test_rows_quoted_as_a_whole_come_back,
    test_csv_parser.test_every_letter_is_in_a_row_or_in_a_broken_line,
    test_csv_parser.test_damage_moves_no_value_without_a_line,
    test_csv_editor.test_only_the_changed_cells_differ,
)


@pytest.mark.chaos
@pytest.mark.parametrize("test", PROPERTIES, ids=lambda test: test.__name__.removeprefix("test_"))
def test_many_examples(test: Callable[[], None]) -> None:
    MANY(test)()
