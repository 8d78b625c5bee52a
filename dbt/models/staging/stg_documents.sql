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
  duplicate
from {{ source('lake', 'documents') }}
