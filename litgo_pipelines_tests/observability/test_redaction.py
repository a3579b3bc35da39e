"""What of a line is written: never what belongs to a person."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.observability.redaction import (
    MEASURES,
    PERSONAL,
    REMOVED,
    is_personal,
    masked,
    name_of,
    redacted,
    trace_of,
    warning_of,
    words_of,
)
from litgo_pipelines.settings import LitgoError

SECRETS = (
    "529.982.247-25",
    "52998224725",
    "11.222.333/0001-81",
    "maria.silva@example.com",
    "(11) 98765-4321",
    "+55 11 98765-4321",
    "0001234-56.2024.8.26.0100",
    "OAB/SP 123.456",
)
NUMBERS = (52998224725, 11222333000181, 11987654321, 5511987654321, 1133224455, 1234567890, 12347120248260100)
"""The same as numbers, that of a CPF and of a court case without the zeros they begin with."""
_number = st.sampled_from(NUMBERS).flatmap(
    lambda one: st.sampled_from([one, -one, Decimal(one), Decimal(f"{one}.00")] + [float(one)] * (one < 2**53))
)
_login = st.builds(
    lambda user, word, host: f"postgresql://{user}:{word}@{host}/litgo",
    st.sampled_from(["litgo", "", "a.b"]),
    st.sampled_from(["s3cret", "s3c/ret", "s3c@ret", "s3c:ret#1", "12345s3cret"]),
    st.sampled_from(["localhost", "db.example.com:5432"]),
)
_secret = st.sampled_from(SECRETS)
_words = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x24F), min_size=1, max_size=8)
_phrase = st.builds(lambda before, secret, after: f"{before} {secret} {after}", _words, _secret, _words)
_plain_key = _words.filter(lambda word: not is_personal(word) and MEASURES.isdisjoint(words_of(word)))
_leaves = st.one_of(_phrase, _secret, _number, _login, st.none(), st.booleans(), st.integers(-1000, 1000), st.uuids())
_nested = st.recursive(
    _leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(_plain_key, _secret), inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(_plain_key, _nested, max_size=5))
def test_numbers_and_addresses_of_people_are_nowhere_in_a_line(fields: dict[str, Any]) -> None:
    """However deep, in keys as well as in values; and the line is JSON."""
    line = json.dumps(redacted(fields), ensure_ascii=False)
    assert not [secret for secret in (*SECRETS, *map(str, NUMBERS), "s3c") if secret in line]


@given(
    st.sampled_from(sorted(PERSONAL)),
    _words,
    st.sampled_from(["{0}", "{1}_{0}", "{0}_{1}"]),
    st.one_of(_words, st.lists(_words), st.integers()),
)
def test_what_stands_under_a_personal_key_is_removed(word: str, other: str, shape: str, value: Any) -> None:
    """Whatever it is, and however deep, for a name has no shape to know it by."""
    key = shape.format(word, other.lower())
    assert redacted({key: value}) == {key: REMOVED}
    assert redacted({"details": [{key: value}]}) == {"details": [{masked(key): REMOVED}]}


@pytest.mark.parametrize(
    "key",
    [
        *("lawyerName", "client_email", "CPF", "text", "lat", "fone", "contato", "username", "address", "endereço", "ENDEREÇO", "user"),
        *("client", "db_user", "usuário", "pwd", "senha", "credential", "dsn", "api_key", "apiKey", "API_KEY", "apikey", "private_key"),
    ],
)
def test_keys_are_read_word_by_word(key: str) -> None:
    """Written with capitals, with underscores or with accents."""
    assert is_personal(key)
    assert redacted({"details": {key: "Maria Silva"}}) in ({"details": {key: REMOVED}}, {"details": {REMOVED: REMOVED}})


@pytest.mark.parametrize(
    "key",
    [
        *("filename", "tokens", "contract_id", "logger", "event", "textual", "latency_ms", "platform", "named", "client_id", "lawyer_id"),
        *("case_id", "clientIds", "contact_id", "user_agent", "share_of_clients", "lawyers", "run_key", "asset_key", "key", "clientele"),
    ],
)
def test_words_that_only_contain_such_a_word_are_others(key: str) -> None:
    """What is measured must not vanish from the log."""
    assert not is_personal(key)


@given(st.uuids(), st.datetimes(timezones=st.just(UTC)), st.integers(0, 10**9), st.floats(allow_nan=False))
def test_ids_moments_and_numbers_stay(number: UUID, moment: datetime, count: int, share: float) -> None:
    """They consist of digits, and are what one looks for: a UUID may well contain what reads as a phone number."""
    fields = {
        "case_id": str(number),
        "run_id": number.hex if number.hex.strip("0123456789") else "",
        "count": count,
        "share": share,
        "ok": True,
    }
    assert redacted(fields) == fields
    told = f"case {number} at {moment.isoformat()} failed"
    assert masked(told) == told
    assert redacted({"case": number})["case"] == str(number)


@pytest.mark.parametrize("key", ["value", "fone", "found", "client_id", "case_id", "case"])
def test_a_number_of_a_person_is_none_to_keep(key: str) -> None:
    """A CPF, a telephone or another that somebody holds as a number, even as an id: ours are none."""
    for number in (one for one in NUMBERS if one > 10**10):
        assert redacted({key: number, "more": [Decimal(number)]}) == {key: REMOVED, "more": [REMOVED]}
    assert redacted({key: 52998224725.0}) == {key: REMOVED}


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 23_456_789, "deleted": 912_345_678, "bytes_written": 11_987_654_321, "size": 52_998_224_725},
        {"port": 5432, "pid": 4_194_303, "decision": 7, "experiment": 12, "status": 200},
        {"started_at": 1_932_345_678, "timestamp": 1_763_806_000.0, "since": 1_763_806_000, "epoch_ms": 1_763_806_000_123},
        {"duration_ms": 1.5, "elapsed_ns": 11_987_654_321, "age_seconds": 2_133_224_455},
        {"chat_id": 1_133_224_455, "offer_id": 1234, "xid": 4_294_967_295},
        {"share": 0.5, "lift": -0.25, "nothing": float("inf"), "huge": 1e300, "money": Decimal("1234.56")},
    ],
)
def test_what_is_counted_or_measured_stays_legible(fields: dict[str, Any]) -> None:
    """Ids, counts, ports, moments and durations are made of digits, too."""
    assert redacted(fields) == fields


def test_logins_are_cut_out_of_urls() -> None:
    """Where it leads stays; so does a URL without one."""
    assert redacted({"url": "postgresql://litgo:s3cret@localhost/litgo"})["url"] == "postgresql://[removed]@localhost/litgo"
    assert masked("at https://token@host/x failed") == "at https://[removed]@host/x failed"
    assert masked("GET /v1?case=1&api_key=sk-live-123&n=2") == "GET /v1?case=1&api_key=[removed]&n=2"
    assert masked("sent Authorization: Bearer sk-live-12345") == "sent Authorization: Bearer [removed]"
    for plain in ("http://127.0.0.1:8000/v1/matches?n=2", "file:///tmp/x", "a://b, c@d"):
        assert masked(plain) == plain


def test_keys_that_are_no_names_in_a_program_are_removed() -> None:
    """Figures by person have names for keys, and none gets lost by that."""
    fields = {"by": {"Maria Silva": 3, "João": 4, "maria silva": 5, "trabalhista": 6, "LITGO_HOME": 7, 8: 9, "hand-weights": 1}}
    (written,) = redacted(fields).values()
    assert sorted(written.values()) == [1, 3, 4, 5, 6, 7, 9]
    assert [key for key in written if not key.startswith(REMOVED)] == ["trabalhista", "LITGO_HOME", "8", "hand-weights"]


def test_of_a_warning_the_category_is_told() -> None:
    """And the message where it is about a program."""
    assert warning_of("Maria", UserWarning) == {"category": "UserWarning"}
    assert warning_of(FutureWarning("use x"), FutureWarning) == {"category": "FutureWarning", "message": "use x"}


@dataclass
class Case:
    """What must not be written by way of its representation."""

    summary: str = "segredo"


def test_objects_are_named_by_their_type() -> None:
    """Nobody knows what their representation holds; what is a number or a path is no object."""
    assert redacted({"case": Case(), "cases": [Case()], "error": ValueError("segredo"), "bytes": b"segredo"}) == {
        "case": "<Case>",
        "cases": ["<Case>"],
        "error": "ValueError",
        "bytes": "<bytes>",
    }
    assert redacted({"where": Path("/tmp/x")})["where"] == "/tmp/x"


def test_what_holds_itself_has_an_end() -> None:
    """A list that is its own member is written as far as it makes sense."""
    endless: list[Any] = []
    endless.append(endless)
    assert json.dumps(redacted({"x": endless})) == '{"x": [[[[[["\\u2026"]]]]]]}'


def test_a_very_long_text_is_cut() -> None:
    """So that no line fills a disk, and no mask takes long."""
    assert len(redacted({"x": "a " * 100_000})["x"]) < 21_000


def test_fields_of_the_logging_library_stay() -> None:
    """It needs its record as it is."""
    record = logging.makeLogRecord({})
    assert redacted({"_record": record})["_record"] is record


class Ours(LitgoError):
    """An error with a message for people."""


def test_of_errors_that_are_not_ours_the_class_is_told() -> None:
    """Their messages quote what they were given; ours say what to do next, and are masked all the same."""
    assert name_of(KeyError("Maria")) == "KeyError"
    assert name_of(Ours("ask 52998224725 again")).endswith(".Ours: ask [CPF] again")
    assert name_of(FileNotFoundError(2, "No such file", "maria.txt")) == "FileNotFoundError: No such file"
    assert name_of(json.JSONDecodeError("Maria", "Maria", 0)) == "json.decoder.JSONDecodeError"


def test_a_database_s_error_is_told_by_its_code(engine: Any) -> None:
    """Its text quotes rows."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT CAST('Maria' AS uuid)"))
    assert name_of(caught.value) == "sqlalchemy.exc.DataError (SQLSTATE 22P02)"


def test_a_trace_shows_the_way_and_no_message() -> None:
    """Causes, what was being handled, and members of groups, each with its place; errors that cause one another in a circle end."""

    def fail(error: BaseException, cause: BaseException | None = None) -> BaseException:
        try:
            raise error from cause
        except BaseException as raised:
            return raised

    first = fail(ValueError("Maria"))
    try:
        try:
            raise first
        except ValueError:
            raise TypeError("Maria")  # noqa: B904
    except TypeError as second:
        told = trace_of(fail(ExceptionGroup("Maria", [fail(KeyError("Maria")), Ours("wait")]), second))
    assert [told.count(name) for name in ("\nValueError", "\nTypeError", "\nExceptionGroup", "\nKeyError", ".Ours: wait")] == [1] * 5
    assert "test_redaction.py" in told
    assert [line for line in told.splitlines() if "Maria" in line and "raise" not in line and "fail(" not in line] == []
    first.__cause__, circle = fail(TypeError(), first), first
    assert trace_of(circle).count("ValueError") >= 1


def test_an_id_beside_a_number_of_a_person_protects_it_not() -> None:
    """Only the id stays."""
    number = uuid4()
    assert masked(f"{number} 52998224725 {number}") == f"{number} [CPF] {number}"
