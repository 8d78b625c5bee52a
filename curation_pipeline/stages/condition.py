"""An SQL condition that somebody wrote, checked before it runs: one expression that only computes.

DuckDB itself parses it, so nothing is guessed about its text; the tree is compared with that of a plain condition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from curation_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

MAX_CHARACTERS = 20_000

_NAMES = """
abs acos asin atan ceil ceiling cos degrees exp floor greatest isfinite isinf isnan least ln log log10 log2 mod pi pow
power radians random round sign sin sqrt tan trunc
ascii bit_length char_length character_length concat concat_ws contains ends_with ilike_escape instr left length
like_escape lower ltrim md5 not_ilike_escape not_like_escape position prefix regexp_extract regexp_full_match
regexp_matches reverse right rtrim sha256 split split_part starts_with str_split string_split string_to_array
strip_accents strlen strpos substr substring suffix trim unicode upper
array_contains array_cosine_similarity array_distance array_extract array_has array_has_all array_has_any
array_inner_product array_length array_position array_slice array_value cardinality element_at len list_contains
list_avg list_cosine_similarity list_count list_distance list_extract list_has list_has_all list_has_any
list_inner_product list_max list_min list_position list_slice list_sum list_value map_contains row struct_extract
struct_pack
hash if nullif typeof
date_diff date_part date_trunc datediff datepart datetrunc day dayofweek epoch hour make_date month now strptime today
to_days to_hours to_minutes to_months to_seconds to_weeks to_years try_strptime week year
"""
FUNCTIONS = frozenset(_NAMES.split())
"""What a condition may call, besides operators. None of them reads anything but its arguments, waits, or makes much out
of little: DuckDB bounds neither the memory nor the time of one call."""


def check_condition(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Refuse a condition that is more than one expression, or that calls what it may not.

    Raises:
        ConfigError: says what it holds that it may not.
    """
    if len(condition) > MAX_CHARACTERS:
        raise ConfigError(
            f"the query fails: the condition has {len(condition):,} characters; at most {MAX_CHARACTERS:,} are read"
        )
    if not condition.strip():
        raise ConfigError("the query fails: the condition is empty; leave --where out to take every document")
    plain, given = (_parsed(connection, f"select (\n{text}\n) from pool") for text in ("true", condition))
    expression: list[Any] = next((node["select_list"] for node in _nodes(given) if "select_list" in node), [])
    next(node for node in _nodes(plain) if "select_list" in node)["select_list"] = expression
    if len(expression) != 1 or plain != given:
        raise ConfigError(
            f"the query fails: a condition is one SQL expression over the pool's columns, not {condition!r}"
        )
    for node in _nodes(expression):
        if "SUBQUERY" in (node.get("class"), node.get("type")) or "select_list" in node:
            raise ConfigError(
                f"the query fails: a condition reads the pool's columns only and takes no subquery: {condition!r}"
            )
        name = str(node.get("function_name", "")).lower()
        if re.match(r"\w", name) and name not in FUNCTIONS:
            raise ConfigError(
                f"the query fails: a condition may not call {name}(); it may call {', '.join(sorted(FUNCTIONS))}"
            )


def quoted(name: str) -> str:
    """A column's name as SQL writes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """DuckDB's own syntax tree, without the places in the text."""
    import duckdb

    try:
        tree: dict[str, Any] = json.loads(connection.execute("select json_serialize_sql(?)", [sql]).fetchall()[0][0])
    except (duckdb.Error, UnicodeError) as error:  # text that is no Unicode, from a terminal
        raise ConfigError(f"the query fails: {str(error).splitlines()[0]}") from error
    if tree["error"]:
        raise ConfigError(f"the query fails: the condition is not one SQL expression: {tree['error_message']}")
    for node in _nodes(tree):
        node.pop("query_location", None)
        node.pop("query_location_length", None)
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON value, outer ones first."""
    todo = [tree]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield value
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
