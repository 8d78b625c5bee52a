-- One row for each decision, with what was known of the document and what the batch holds of it. An arm that wrote no
-- pool of its own chose from the pool of `{{ var('pool_chain') }}` at the same iteration.
with own_pool as (
  select distinct chain, iteration from {{ ref('stg_pool') }}
),

decisions as (
  select
    decisions.*,
    case when own_pool.chain is null then '{{ var("pool_chain") }}' else decisions.chain end as pool_chain
  from {{ ref('stg_decisions') }} as decisions
  left join own_pool on own_pool.chain = decisions.chain and own_pool.iteration = decisions.iteration
)

select
  decisions.chain,
  decisions.iteration,
  decisions.ordinal,
  decisions.doc_id,
  pool.source,
  pool.domain,
  pool.identity_group,
  pool.stratum,
  pool.topic,
  pool.toxicity_bin,
  pool.p_harm,
  coalesce(pool.n_tokens, batches.n_tokens) as n_tokens,
  decisions.probability,
  decisions.drawn,
  batches.doc_id is not null as in_batch,
  batches.weight,
  coalesce(batches.n_tokens, 0) as batch_tokens
from decisions
left join {{ ref('stg_pool') }} as pool
  on pool.chain = decisions.pool_chain and pool.iteration = decisions.iteration and pool.doc_id = decisions.doc_id
left join {{ ref('stg_batches') }} as batches
  on batches.chain = decisions.chain and batches.iteration = decisions.iteration and batches.doc_id = decisions.doc_id
