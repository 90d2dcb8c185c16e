"""Images, or paths of images, in the rows of a Parquet file."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from .base import MAX_ENCODED, Item, Skipped
from .labels import labels_of

_IMAGES = ("image", "img")
_PATHS = ("path", "file_name")
_LABELS = ("label", "labels")
_MAX_PATH = 1 << 15
_MAX_ROWS = 64  # rows read at a time
_AT_ONCE = 1 << 26  # bytes read at a time, unless a single row is larger
_BUFFER = 1 << 20


def count(path: str) -> int:
    """Return the number of rows. Raises ValueError if the file has no usable column."""
    with open(path, "rb") as opened, parquet.ParquetFile(opened) as file:
        _Columns(file.schema_arrow)
        return int(file.metadata.num_rows)


def rows(path: str, name: bytes) -> Iterator[Item | Skipped]:
    """Yield the images of a file.

    Images are the bytes in the column ``image`` or ``img``, or in the only column of images according to Hugging
    Face's metadata, either plain or in a struct of ``bytes`` and ``path``. Otherwise they are the files in ``path``
    or ``file_name``, relative to this file's folder. Labels are in ``label`` or ``labels``, or in the only column of
    classes according to the metadata: names, whole numbers, or lists of them; the metadata maps numbers to names. The
    name of a row is its path, if there is such a column, or else ``<name>/<number>``, from 0.

    Raises ValueError if the file has no such column, and anything that pyarrow raises for a damaged one.
    """
    with open(path, "rb") as opened, parquet.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False) as file:
        columns = _Columns(file.schema_arrow)
        number = 0
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            step = max(1, min(_MAX_ROWS, _AT_ONCE * about.num_rows // max(1, about.total_byte_size)))
            for batch in file.iter_batches(step, [group], columns.names, use_threads=False):
                for image, leads_to, label in columns.rows(batch):
                    yield _item(name, number, image, leads_to, label)
                    number += 1


def _item(name: bytes, number: int, data: bytes | None, path: bytes | None, label: object) -> Item | Skipped:
    row = b"%s/%d" % (name, number)
    if data is None and not path:
        return Skipped(row, "no image: null")
    if len(data or b"") > MAX_ENCODED:
        return Skipped(row, f"too large: {len(data or b'')} bytes, at most {MAX_ENCODED} are allowed")
    if path and len(path) > _MAX_PATH:
        return Skipped(row, f"path too long: {len(path)} bytes")
    try:
        labels = labels_of(label)
    except ValueError as error:
        return Skipped(row, f"no labels: {error}")
    return Item(os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else row, labels, data)


class _Columns:
    """The names of the columns with images, paths and labels; None for missing ones."""

    def __init__(self, schema: Any) -> None:
        """Find the columns. Raises ValueError if there are no images, or a column has an unsupported type."""
        self._features = _features(schema)
        fitting = [name for name in _IMAGES if name not in self._features or self._is("Image", name)]
        self.image = _first(schema, (*fitting, *self._of_type("Image"), *_IMAGES))
        self.path = _first(schema, _PATHS)
        self.label = _first(schema, (*_LABELS, *self._of_type("ClassLabel")))
        if self.image is None and self.path is None:
            found = ", ".join(schema.names[:20]) or "none"
            raise ValueError(
                f"no column {' or '.join(_IMAGES)} or {' or '.join(_PATHS)}, but {found}; rename that of the images"
            )
        for name, fits in ((self.image, _is_image), (self.path, _is_text), (self.label, _is_label)):
            if name is not None and not fits(schema.field(name).type):
                raise ValueError(f"column {name}: {schema.field(name).type} is not a type for it")
        self.names = [name for name in (self.image, self.path, self.label) if name is not None]
        self._classes = _class_names(self._features.get(self.label or ""))

    def _of_type(self, kind: str) -> list[str]:
        """Return the columns of a kind, images or classes, in Hugging Face's metadata, if there is only one."""
        names = [name for name in self._features if self._is(kind, name)]
        return names if len(names) == 1 else []

    def _is(self, kind: str, name: str) -> bool:
        """Return whether Hugging Face's metadata declare a column as of a kind."""
        feature = self._features[name]
        return isinstance(feature, dict) and feature.get("_type") == kind

    def rows(self, batch: Any) -> Iterator[tuple[bytes | None, bytes | None, object]]:
        """Yield image, path and labels of the rows."""
        nothing = [None] * len(batch)
        data, within = nothing, nothing
        if self.image is not None:
            images = _binary(batch.column(self.image))
            if pa.types.is_struct(images.type):
                fields = dict(zip([field.name for field in images.type], images.flatten(), strict=True))
                data = _binary(fields["bytes"]).to_pylist()
                within = _binary(fields["path"]).to_pylist() if "path" in fields else nothing
            else:
                data = images.to_pylist()
        paths = _binary(batch.column(self.path)).to_pylist() if self.path is not None else nothing
        labels = _binary(batch.column(self.label)).to_pylist() if self.label is not None else nothing
        for image, inner, path, label in zip(data, within, paths, labels, strict=True):
            yield image, path or (inner if image is None else None), self._named(label)

    def _named(self, label: Any) -> object:
        """Return a label with its class number replaced by the class name, if there is one."""
        if isinstance(label, list):
            return [self._named(one) for one in label if one != -1 or not self._classes]
        if self._classes and isinstance(label, int) and label < len(self._classes):
            return self._classes[label] if label >= 0 else None
        return label


def _first(schema: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if schema.names.count(name) == 1), None)


def _features(schema: Any) -> dict[str, Any]:
    """Return the column features in Hugging Face's metadata; empty if there are none."""
    with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return dict(json.loads(schema.metadata[b"huggingface"])["info"]["features"])
    return {}


def _class_names(feature: Any) -> list[str]:
    """Return the names of the classes of a column: ``{names}``, ``{feature: {names}}`` or ``[{names}]``."""
    with suppress(LookupError, TypeError, AttributeError):
        feature = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        return [str(name) for name in feature["names"]]
    return []


def _is_image(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(_value(kind)) or pa.types.is_large_string(_value(kind)))


def _is_label(kind: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_label(kind.value_type)
    return _is_text(kind) or bool(pa.types.is_integer(_value(kind)) or pa.types.is_boolean(kind))


def _value(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _binary(array: Any) -> Any:
    """Return a column with text as bytes, because text in an untrusted file may not be valid UTF-8."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _binary(array.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.cast(pa.large_binary())
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type):
        return array.cast(pa.large_list(pa.large_binary()))
    return array
