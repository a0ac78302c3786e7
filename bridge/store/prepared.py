"""Statements that a patron waits for, made ready once for each kind of database.

``Connection.execute`` builds anew, at every call, what it knows of a statement: that takes several times as
long as the database does. A ``Prepared`` statement is compiled by SQLAlchemy once, converts values by the
types of its columns, and then goes to the driver's own cursor. What fails is SQLAlchemy's error here, too.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Convert = Callable[[Any], Any]

Statement = Select[Any] | Insert | Update | Delete


class Prepared:
    """A statement over tables. *columns* are those that an INSERT or UPDATE is given values for, by name.

    What else changes are ``bindparam``s of the statement. All are given at each run. A list of changing
    length, such as ``in_(bindparam(..., expanding=True))``, cannot be among them.
    """

    def __init__(self, statement: Statement, columns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, parameters: Mapping[str, object]) -> list[Any]:
        """Run a query; return its rows, with a column's name for each value."""
        compiled = self._compiled_for(connection.dialect)
        found = _run(connection, compiled.text, compiled.arguments(parameters), _fetch_all)
        return [compiled.row(values) for values in found]

    def first(self, connection: Connection, parameters: Mapping[str, object]) -> Any | None:
        """Run a query; return its first row, None where there is none."""
        rows = self.rows(connection, parameters)
        return rows[0] if rows else None

    def change(self, connection: Connection, parameters: Mapping[str, object]) -> int:
        """Run any other statement; return how many rows it met."""
        compiled = self._compiled_for(connection.dialect)
        met: int = _run(connection, compiled.text, compiled.arguments(parameters), _count)
        return met

    def _compiled_for(self, dialect: Dialect) -> _Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _compile(self._statement, self._columns, dialect)
        return compiled


def run_text(connection: Connection, text: str) -> None:
    """Run one word of the database's own that takes and gives no values, such as a PRAGMA."""
    _run(connection, text, (), _count)


@dataclass(frozen=True)
class _Compiled:
    """What a statement is to one kind of database.

    ``inputs`` are the names of its parameters in the order of the text, with how each is converted;
    ``constants`` those whose values stand in the statement, converted already.
    """

    text: str
    inputs: Sequence[tuple[str, Convert | None]]
    constants: Mapping[str, object]
    is_positional: bool
    make_row: Callable[[Sequence[object]], Any]
    outputs: Sequence[Convert | None]

    def arguments(self, parameters: Mapping[str, object]) -> Sequence[object] | Mapping[str, object]:
        values = [
            self.constants[name]
            if name in self.constants
            else (parameters[name] if convert is None else convert(parameters[name]))
            for name, convert in self.inputs
        ]
        if self.is_positional:
            return values
        return dict(zip((name for name, _ in self.inputs), values, strict=True))

    def row(self, values: Sequence[object]) -> Any:
        return self.make_row(
            [
                value if convert is None else convert(value)
                for value, convert in zip(values, self.outputs, strict=True)
            ]
        )


def _compile(statement: Statement, columns: Sequence[str], dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=list(columns) or None)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101  # for the type checker
    if compiled.post_compile_params:
        raise ValueError("a list of changing length cannot be prepared")
    binds = {name: bind for bind, name in compiled.bind_names.items()}
    converters = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in binds.items()
    }
    constants = {
        name: bind.effective_value if (convert := converters[name]) is None else convert(bind.effective_value)
        for name, bind in binds.items()
        if not bind.required
    }
    order = compiled.positiontup if compiled.positiontup is not None else list(binds)
    results = list(statement.exported_columns)
    row = namedtuple("Row", [column.key for column in results])  # type: ignore[misc]
    return _Compiled(
        str(compiled),
        [(name, converters[name]) for name in order],
        constants,
        compiled.positional,
        row._make,
        [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in results],
    )


def _run(connection: Connection, text: str, arguments: Any, result: Callable[[DBAPICursor], Any]) -> Any:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, arguments)
        return result(cursor)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_error(connection, error) from error
    finally:
        cursor.close()


def _fetch_all(cursor: DBAPICursor) -> Sequence[Any]:
    return cursor.fetchall()


def _count(cursor: DBAPICursor) -> int:
    return cursor.rowcount


def _as_sqlalchemy_error(connection: Connection, error: Any) -> BaseException:
    """Return what ``Connection.execute`` would raise: without values, and a lost connection given up."""
    dialect = connection.dialect
    is_lost = dialect.is_disconnect(error, connection.connection, None)
    if is_lost:
        connection.invalidate(error)
    found: BaseException = DBAPIError.instance(
        None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=is_lost,
        dialect=dialect,
    )
    return found
