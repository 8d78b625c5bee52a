-- A document may be removed for several causes; the row `any cause` counts it once.
with places as (
  select
    doc_id,
    coalesce(min(source) filter (where not retired), min(source)) as source,
    bool_and(retired) as retired
  from {{ ref('stg_documents') }}
  group by doc_id
),

causes as (
  select chain, iteration, ordinal, doc_id, cause from {{ ref('stg_removed') }}
  union
  select chain, iteration, ordinal, doc_id, 'any cause' as cause from {{ ref('stg_removed') }}
),

sizes as (
  select source, coalesce(nullif(count(*) filter (where not retired), 0), count(*)) as documents
  from places
  group by source
)

select
  causes.chain,
  causes.iteration,
  causes.ordinal,
  places.source,
  causes.cause,
  count(distinct causes.doc_id) as removed,
  count(distinct causes.doc_id) / any_value(sizes.documents) as share_of_source
from causes
join places on places.doc_id = causes.doc_id
join sizes on sizes.source = places.source
group by all
order by causes.chain, causes.iteration, places.source, causes.cause
