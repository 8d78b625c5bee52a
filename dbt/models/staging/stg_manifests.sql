select
  id as manifest_id,
  "table" as table_name,
  partition as partition_key,
  n_rows,
  n_files,
  n_bytes,
  content_hash,
  seed,
  code_version,
  cast(created_at as timestamptz) as created_at,
  inputs
from {{ source('lake', 'manifests') }}
