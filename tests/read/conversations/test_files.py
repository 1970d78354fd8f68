"""Conversations in files: recognised without configuration, joined across files, mapped, refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Columns, Messages, Read, TableSource
from pipeline.errors import InputError
from pipeline.read import discover, pieces

TICKET: dict[str, Any] = {"id": 7, "subject": "Login", "requester_id": 77, "assignee_id": 88, "status": "solved"}
SAID = [
    {"id": 1, "author_id": 77, "public": True, "body": "I forgot my password."},
    {"id": 2, "author_id": 88, "public": False, "body": "geheim"},
    {"id": 3, "author_id": 88, "public": True, "body": "Please reset it."},
]
NESTED = {**TICKET, "comments": SAID}
COMMENTS = [{**comment, "ticket_id": 7} for comment in SAID]


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def csv(*values: dict[str, Any]) -> str:
    return "\n".join([",".join(values[0]), *(",".join(map(str, value.values())) for value in values)]) + "\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {"export__jsonl": lines(NESTED)},
        {"export__json": json.dumps([NESTED])},
        {"export__json": json.dumps(NESTED)},
        {"export__json": json.dumps({"tickets": [NESTED], "users": [{"id": 77, "name": "Anna"}], "count": 1})},
        {"export__json": json.dumps({"ticket": TICKET, "comments": SAID})},
        {"export__json": json.dumps({"tickets": [TICKET], "comments": COMMENTS, "count": 1})},
        {"tickets__jsonl": lines(TICKET), "comments__jsonl": lines(*COMMENTS)},
        {"tickets__json": json.dumps({"tickets": [TICKET]}), "ticket_comments__csv": csv(*COMMENTS)},
        {"tickets__csv": csv(TICKET), "comments__csv": csv(*COMMENTS)},
        {"a__csv": csv(*COMMENTS), "b__csv": csv(TICKET)},
    ],
)
def test_zendesk_in_every_way(tmp_path: Path, read_rows: Any, files: dict[str, str]) -> None:
    (row,) = read_rows(write(tmp_path, **files))
    assert (row["prompt"], row["response"], row["reason"]) == (
        "Login\n\nI forgot my password.",
        "Please reset it.",
        None,
    )
    assert row["source_id"] == "7"


def test_turns(tmp_path: Path, read_rows: Any) -> None:
    said = [*SAID, {**SAID[0], "body": "And then?"}, {**SAID[2], "body": "Log in."}, {**SAID[0], "body": "Thanks"}]
    (row,) = read_rows(write(tmp_path, x__jsonl=lines({**TICKET, "comments": said})), Read(conversations="turns"))
    assert (row["response"], row["later"]) == ("Please reset it.", ["And then?", "Log in."])


def test_reasons(tmp_path: Path, read_rows: Any) -> None:
    unmarked = [{**comment, "public": None} for comment in SAID]
    documents = [{**TICKET, "comments": []}, {**TICKET, "comments": SAID[:2]}, {**TICKET, "comments": unmarked}]
    rows = read_rows(write(tmp_path, x__jsonl=lines(*documents, {**TICKET, "comments": "text"})))
    assert [row["reason"] for row in rows] == ["empty_prompt", "empty_response", "unmarked", "unreadable"]
    assert [row["line"] for row in rows] == [1, 2, 3, 4]
    assert "geheim" not in str(rows)


def test_a_join_is_read_as_one(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other, tickets2__csv=csv(TICKET), comments2__csv=csv(*COMMENTS))
    write(tmp_path, tickets__csv=csv(TICKET), comments__csv=csv(*COMMENTS))
    files = discover([str(tmp_path)], Read()).files
    assert [(file.path, [partner.path for partner in file.partners]) for file in files] == [
        ("other/tickets2.csv", ["other/tickets2.csv", "other/comments2.csv"]),
        ("tickets.csv", ["tickets.csv", "comments.csv"]),
    ]
    assert pieces(files[0], size=10) == [files[0]]


def test_where_a_joined_row_is_from(tmp_path: Path, read_rows: Any) -> None:
    comments = [*COMMENTS, {**COMMENTS[2], "ticket_id": ""}]
    rows = read_rows(write(tmp_path, tickets__csv=csv(TICKET), comments__csv=csv(*comments)))
    assert sorted((row["path"], row["line"], row["reason"]) for row in rows) == [
        ("comments.csv", 5, "unreadable"),
        ("tickets.csv", 2, None),
    ]
    assert {row["source"] for row in rows} == {"tickets"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tickets__csv": csv(TICKET)}, ["latest public comment", "`ticket_id`"]),
        ({"tickets__jsonl": lines(TICKET)}, ["tickets.jsonl", "`ticket_id`"]),
        ({"comments__csv": csv(*COMMENTS)}, ["comments.csv", "same folder"]),
        (
            {"Case__csv": "Id,CaseNumber,Subject,OwnerId\n1,2,a,b\n"},
            ["salesforce cases", "EmailMessage"],
        ),
        ({"x__json": '[{"id": 1, "text": "a", "turns": []}]'}, ["`turns`", "messages: {path:", "columns: {prompt:"]),
    ],
)
def test_what_is_missing(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        discover([str(write(tmp_path, **files))], Read())
    for word in words:
        assert word in str(error.value)


NESTED_CELLS = [{"question": "Why?", "answer": [{"body": "geheim"}]}, {"question": "Why?", "answer": {"a": 1}}]


def mapped(**columns: Any) -> Read:
    return Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer", **columns)),))


@pytest.mark.parametrize("value", [[{"body": "geheim"}], {"body": "geheim"}, ["geheim"]])
@pytest.mark.parametrize("form", ["jsonl", "json", "parquet", "csv", "repr"])
def test_a_list_in_a_column_of_texts(tmp_path: Path, value: Any, form: str) -> None:
    """Never Python's repr: a sentence names the column and what to do."""
    rows = [{"question": "Why?", "answer": value}]
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    elif form in ("csv", "repr"):
        cell = (json.dumps(value) if form == "csv" else str(value)).replace('"', '""')
        (tmp_path / "x.csv").write_text(f'question,answer\nWhy?,"{cell}"\n')
    else:
        (tmp_path / f"x.{form}").write_text(lines(*rows) if form == "jsonl" else json.dumps(rows))
    with pytest.raises(InputError, match=r"the column `answer` holds .*messages: \{path: answer") as error:
        discover([str(tmp_path)], mapped())
    assert "geheim" not in str(error.value)


def test_a_list_far_down_is_a_damaged_row(tmp_path: Path, read_rows: Any) -> None:
    good = {"question": "Why?", "answer": "Because."}
    text = lines(*[good] * 1_000, {**good, "answer": ["geheim"]}, {**good, "answer": 5})
    rows = read_rows(write(tmp_path, x__jsonl=text), mapped())
    assert [row["reason"] for row in rows[999:]] == [None, "unreadable", None]
    assert rows[-1]["response"] == "5"


def test_a_bracket_is_no_list(tmp_path: Path, read_rows: Any) -> None:
    answers = ["[{braces}] as they are", "{name}, hello", "['a' and \"b\"]", "[1] see there"]
    text = csv(*({"question": "Why?", "answer": answer.replace(",", ";")} for answer in answers))
    rows = read_rows(write(tmp_path, x__csv=text), mapped())
    assert [row["reason"] for row in rows] == [None] * 4


MAPPING = Messages(path="log", body="text", author="role", public="visible", source_id="no")


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet", "csv", "repr", "wrapped"])
def test_messages_that_are_mapped(tmp_path: Path, read_rows: Any, form: str) -> None:
    log = [
        {"role": "user", "text": "Why?", "visible": True},
        {"role": "agent", "text": "geheim", "visible": False},
        {"role": "agent", "text": "<p>Because.</p>", "visible": True},
    ]
    rows = [{"no": 1, "log": log}, {"no": 2, "log": log[:2]}]
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    elif form in ("csv", "repr"):
        cells = [(json.dumps(row["log"]) if form == "csv" else str(row["log"])).replace('"', '""') for row in rows]
        (tmp_path / "x.csv").write_text("no,log\n" + "".join(f'{at},"{cell}"\n' for at, cell in enumerate(cells, 1)))
    else:
        texts = {"jsonl": lines(*rows), "json": json.dumps(rows), "wrapped": json.dumps({"data": {"items": rows}})}
        (tmp_path / f"x.{'jsonl' if form == 'jsonl' else 'json'}").write_text(texts[form])
    answered, silent = read_rows(tmp_path, Read(tables=(TableSource(match="x.*", messages=MAPPING),)))
    assert (answered["prompt"], answered["response"], answered["source_id"]) == ("Why?", "Because.", "1")
    assert (silent["prompt"], silent["reason"]) == ("Why?", "empty_response")


def test_a_mapping_that_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path, x__jsonl=lines({"no": 1, "log": [{"role": "user", "text": "Why?"}]}))
    with pytest.raises(InputError, match=r"x\.jsonl: nothing is at `visible` \(messages\.public\)"):
        discover([str(tmp_path)], Read(tables=(TableSource(match="x.*", messages=MAPPING),)))


def test_a_chat_in_a_ticket_table(tmp_path: Path, read_rows: Any) -> None:
    text = (
        "Id,Requester,Assignee,Subject,Status,Description,Latest public comment\n"
        '1,Anna Schmidt,Ben Roth,Chat,Solved,"(10:00:12) Anna Schmidt: my card is blocked\n'
        '(10:00:40) *** Ben joined the chat ***\n(10:00:50) Ben: one moment please\n(10:00:55) Carla: Try again."'
        ",(10:00:55) Carla: Try again.\n"
        "2,Anna Schmidt,Ben Roth,Card,Open,It was at 10:00: my card broke.,Try again.\n"
    )
    chat, mail = read_rows(write(tmp_path, x__csv=text))
    assert (chat["prompt"], chat["response"]) == ("my card is blocked", "Try again.")
    assert {entity["text"] for entity in chat["entities"]} == {"Anna Schmidt", "Ben Roth", "Ben", "Carla"}
    assert (chat["source_id"], chat["resolved"]) == ("1", True)
    assert (mail["prompt"], mail["response"]) == ("Card\n\nIt was at 10:00: my card broke.", "Try again.")
