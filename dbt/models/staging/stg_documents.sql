-- What the corpus no longer holds is here for lineage alone: earlier batches may have drawn it.
select
  doc_id,
  source,
  snapshot,
  file,
  position,
  url,
  coalesce(domain, 'unknown') as domain,
  language,
  created_at,
  n_bytes,
  duplicate,
  retired
from (
  select *, false as retired from {{ source('lake', 'documents') }}
  union all by name
  select *, true as retired from {{ source('lake', 'retired_documents') }}
)
