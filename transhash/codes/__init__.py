"""The codes file: packed codes, paths and labels in HDF5.

    from transhash import codes

    with codes.CodesWriter.create(path, model) as writer: ...     # batch by batch
    codes.write_codes(path, found); codes.read_codes(path)        # at once
    with codes.open_codes(path) as file: ...                      # block by block
    codes.merge([(one, None), (other, mask)], output)             # join
    codes.truncate_codes(path, 32, output)                        # shorten nested codes

Format, byte by byte: ``docs/codes-format.md``.
"""

from .header import FORMAT, VERSION
from .merging import merge
from .models import check_query_model, check_same_model, packed_queries
from .reader import CodesFile, check_replaceable, is_codes_file, open_codes, open_records, opened_records, read_codes
from .records import MAX_LABELS, NO_LABEL, UNKNOWN, Codes, ModelRef, Records, label_ids
from .strings import StringTable
from .truncation import truncate, truncate_codes
from .verifying import Verified, verify_codes
from .writer import CodesWriter, write_codes, write_records

__all__ = [
    "FORMAT",
    "MAX_LABELS",
    "NO_LABEL",
    "UNKNOWN",
    "VERSION",
    "Codes",
    "CodesFile",
    "CodesWriter",
    "ModelRef",
    "Records",
    "StringTable",
    "Verified",
    "check_query_model",
    "check_replaceable",
    "check_same_model",
    "is_codes_file",
    "label_ids",
    "merge",
    "open_codes",
    "open_records",
    "opened_records",
    "packed_queries",
    "read_codes",
    "truncate",
    "truncate_codes",
    "verify_codes",
    "write_codes",
    "write_records",
]
