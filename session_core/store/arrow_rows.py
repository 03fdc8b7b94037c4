"""Events as rows of Arrow columns: of a stream that a stranger sent, or of a Parquet file."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from session_core.errors import UnreadableEventsError
from session_core.ingest import Sent, check_columns

BATCH_ROWS = 5_000
_PER_SECOND: Mapping[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}

# Places in Arrow's flatbuffers tables: Message.header_type, Message.header, RecordBatch.compression.
_HEADER_TYPE, _HEADER, _COMPRESSION = 1, 2, 3
_RECORD_BATCH = 3


def rows_of_stream(body: bytes, *, rows_max: int) -> Sent:
    """Each row of an Arrow IPC stream with its number. Raises UnreadableEventsError."""
    with _readable("This is not a whole Arrow IPC stream; write it again and send all of it."):
        _refuse_compression(body)
        reader = pa.ipc.open_stream(body)
        _check_types(reader.schema)
        yield from _rows(reader, rows_max)


def rows_of_parquet(file: Path) -> Sent:
    """Each row of a Parquet file with its number. Raises UnreadableEventsError."""
    wrong = f"{file} is not a whole Parquet file; write it again."
    with file.open("rb") as stream, _readable(wrong), pq.ParquetFile(stream) as table:
        _check_types(table.schema_arrow)
        yield from _rows(table.iter_batches(BATCH_ROWS), table.metadata.num_rows)


@contextmanager
def _readable(otherwise: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, struct.error, UnicodeDecodeError) as error:
        raise UnreadableEventsError(otherwise) from error


def _check_types(schema: pa.Schema) -> None:
    """Whether every column is one of an event's, of a type that takes no more room when it is read."""
    check_columns(schema.names)
    for field in schema:
        kind = field.type
        if pa.types.is_timestamp(kind) and kind.tz is None:
            raise UnreadableEventsError(
                f"The times of the column “{field.name}” have no time zone; say which, such as UTC."
            )
        if not _is_plain(kind):
            raise UnreadableEventsError(
                f"The column “{field.name}” is of the type {kind}; make it text, numbers, booleans or times."
            )


def _is_plain(kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or isinstance(kind, pa.JsonType)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return is_text or is_number or pa.types.is_timestamp(kind) or pa.types.is_null(kind)


def _rows(batches: Iterable[pa.RecordBatch], rows_max: int) -> Sent:
    rows = 0
    for batch in batches:
        if rows + batch.num_rows > rows_max:
            raise UnreadableEventsError(f"There are more than {rows_max} events; send them in several posts.")
        batch.validate(full=True)
        yield from enumerate(_with_seconds(batch).to_pylist(), rows + 1)
        rows += batch.num_rows


def _with_seconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times as numbers: there are more of them than Python has dates."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            ticks = batch.column(place).cast(pa.int64()).cast(pa.float64(), safe=False)
            batch = batch.set_column(place, field.name, pc.divide(ticks, _PER_SECOND[field.type.unit]))
    return batch


def _refuse_compression(body: bytes) -> None:
    """Ten megabytes can be compressed to hold more than there is memory, and reading a batch unpacks all of it."""
    for message in pa.ipc.MessageReader.open_stream(body):
        head = message.metadata.to_pybytes()
        (table,) = struct.unpack_from("<I", head)
        kind_at, header_at = _place(head, table, _HEADER_TYPE), _place(head, table, _HEADER)
        (kind,) = struct.unpack_from("<B", head, kind_at)
        (offset,) = struct.unpack_from("<I", head, header_at)
        if kind == _RECORD_BATCH and _place(head, header_at + offset, _COMPRESSION):
            raise UnreadableEventsError("The Arrow stream is compressed; write it without compression.")


def _place(head: bytes, table: int, field: int) -> int:
    """Where a field of a flatbuffers table is, 0 if it is left out."""
    (back,) = struct.unpack_from("<i", head, table)
    (length,) = struct.unpack_from("<H", head, table - back)
    if 4 + 2 * field >= length:
        return 0
    (offset,) = struct.unpack_from("<H", head, table - back + 4 + 2 * field)
    return table + offset if offset else 0
