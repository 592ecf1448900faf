"""Files of others in, within limits; our own out, written whole or not at all. Nothing is ever unpickled here."""

from vdna_metrics.files.archives import (
    ArchiveHeaders as ArchiveHeaders,
    open_archive as open_archive,
    open_member as open_member,
    open_zip as open_zip,
    read_member as read_member,
)
from vdna_metrics.files.arrays import (
    array_headers as array_headers,
    read_array_header as read_array_header,
    read_arrays as read_arrays,
    read_npy as read_npy,
)
from vdna_metrics.files.errors import DAMAGE as DAMAGE, errors_of as errors_of, errors_of_code as errors_of_code
from vdna_metrics.files.limits import (
    LIMITS as LIMITS,
    check_limit as check_limit,
    is_limit as is_limit,
    limit_of as limit_of,
    limit_variable as limit_variable,
)
from vdna_metrics.files.own import (
    SCHEMA as SCHEMA,
    check_schema as check_schema,
    is_ours as is_ours,
    read_fields as read_fields,
    read_header as read_header,
    read_npz as read_npz,
    write_npz as write_npz,
)
from vdna_metrics.files.reading import (
    check_file as check_file,
    json_hash as json_hash,
    open_regular as open_regular,
    plain_json as plain_json,
    read_json as read_json,
    read_text as read_text,
    read_whole as read_whole,
    sha256_of_file as sha256_of_file,
)
from vdna_metrics.files.writing import (
    check_folder as check_folder,
    check_writable as check_writable,
    replacing as replacing,
    write_whole as write_whole,
)
