import codecs
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import DataError
from resources.feeds.formats.jsontext import read_array, to_numbers
from resources.feeds.formats.text import read_bytes, read_cells

Write = Callable[[str, str | bytes], Path]
COLUMNS = ("t", "a", "b", "c")
TEXT = "t,a,b,c\n1,2.5,x,9\n2,3.5,y,9\n3,4.5,z,9\n"


def cells(path: Path) -> list[tuple[object, ...]]:
    return read_cells(path, COLUMNS, 1, integers=("t",), numbers=("a",), texts=("b",)).rows()


def archive(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def test_cells_carry_the_line_of_the_file(write: Write) -> None:
    assert cells(write("f.csv", TEXT)) == [(2, 1, 2.5, "x"), (3, 2, 3.5, "y"), (4, 3, 4.5, "z")]


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.encode() + b"\n\n",
        archive(inside=TEXT),
    ],
    ids=["utf-8 mark", "utf-16 little", "utf-16 big", "windows lines", "blank lines at the end", "zip"],
)
def test_the_same_cells_whatever_the_encoding(write: Write, content: bytes) -> None:
    assert cells(write("f.csv", content)) == cells(write("g.csv", TEXT))


def test_another_encoding_is_refused_with_its_row(write: Write) -> None:
    with pytest.raises(DataError, match="not UTF-8") as error:
        cells(write("f.csv", TEXT.replace("y", "£").encode("latin-1")))
    assert error.value.row == 3


@pytest.mark.parametrize("content", ["", " \n \n"])
def test_an_empty_file_is_refused(write: Write, content: str) -> None:
    with pytest.raises(DataError, match="is empty"):
        read_bytes(write("f.csv", content))


def test_a_header_alone_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="no rows of data"):
        cells(write("f.csv", "t,a,b,c\n"))


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        ("2,abc,y,9", "'abc' is not a number", "a"),
        ("2.5,1,y,9", "'2.5' is not a number", "t"),
        ("2,,y,9", "cell is empty", "a"),
        ("2,3.5", "has 2 cells, 4 columns are known", None),
        ("", "has 1 cells", None),
        ("2,3,500.5,y,9", "comma inside a number", None),
    ],
)
def test_a_wrong_cell_is_refused_with_its_row(
    write: Write, line: str, reason: str, column: str | None
) -> None:
    path = write("f.csv", TEXT.replace("2,3.5,y,9", line))
    with pytest.raises(DataError, match=reason) as error:
        cells(path)
    assert (error.value.row, error.value.column, error.value.source) == (3, column, str(path))


@pytest.mark.parametrize("kept", range(len(TEXT) - 6, len(TEXT)))
def test_a_last_line_that_may_be_cut_is_refused(write: Write, kept: int) -> None:
    with pytest.raises(DataError, match="may be cut") as error:
        cells(write("f.csv", TEXT[:kept]))
    assert error.value.row == 4


def test_zip_archives_that_cannot_be_read(write: Write) -> None:
    with pytest.raises(DataError, match="holds 2 files"):
        read_bytes(write("two.zip", archive(a=TEXT, b=TEXT)))
    whole = archive(a=TEXT * 500)
    with pytest.raises(DataError, match="damaged or cut"):
        read_bytes(write("cut.zip", whole[: len(whole) // 2]))
    spoilt = bytearray(whole)
    spoilt[60] ^= 0xFF
    with pytest.raises(DataError, match="damaged or cut"):
        read_bytes(write("spoilt.zip", bytes(spoilt)))


def test_json_of_arrays_and_of_objects(write: Write) -> None:
    arrays = read_array(write("a.json", '[[1,"2.5",3],[2,"3.5",4]]'), ("t", "a"))
    objects = read_array(write("b.json", '{"data":[{"t":1,"a":"2.5"},{"a":3.5,"t":"2"}]}'), ("t", "a"))
    assert arrays.rows() == objects.rows() == [(1, "1", "2.5"), (2, "2", "3.5")]


@pytest.mark.parametrize(
    ("content", "reason", "row"),
    [
        ('[{"t":1,"a":2},{"t":2,"a', "damaged or cut", 2),
        ('[{"t":1,"a":2},{"t":2}]', "lacks one of", 2),
        ("[[1,2],[2]]", "lacks one of", 2),
        ("[]", "no array of rows", None),
        ('{"error":"limit"}', "no array of rows", None),
    ],
)
def test_json_that_is_refused(write: Write, content: str, reason: str, row: int | None) -> None:
    with pytest.raises(DataError, match=reason) as error:
        read_array(write("f.json", content), ("t", "a"))
    assert error.value.row == row


def test_json_text_that_is_no_number(write: Write) -> None:
    path = write("f.json", '[{"t":1,"a":"2.5"},{"t":2,"a":""}]')
    with pytest.raises(DataError, match="'' is not a number") as error:
        to_numbers(read_array(path, ("t", "a")), path, integers=("t",), numbers=("a",))
    assert (error.value.row, error.value.column) == (2, "a")
