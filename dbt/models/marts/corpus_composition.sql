with documents as (
  select
    source,
    snapshot,
    domain,
    count(*) as documents,
    sum(n_bytes) as bytes,
    count(*) filter (where duplicate) as duplicates,
    0 as quarantined
  from {{ ref('stg_documents') }}
  where not retired
  group by all
),

-- What could not be read has no domain; its rows stand apart, so that every column adds up.
quarantined as (
  select source, snapshot, '(quarantined)' as domain, 0 as documents, 0 as bytes, 0 as duplicates, count(*) as quarantined
  from {{ ref('stg_quarantine') }}
  group by all
)

select
  source,
  snapshot,
  domain,
  cast(documents as bigint) as documents,
  cast(bytes as bigint) as bytes,
  cast(duplicates as bigint) as duplicates,
  cast(quarantined as bigint) as quarantined
from (select * from documents union all by name select * from quarantined)
order by source, snapshot, domain
