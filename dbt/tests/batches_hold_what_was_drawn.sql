-- A batch holds the drawn documents and no other.
select
  coalesce(drawn.chain, batches.chain) as chain,
  coalesce(drawn.iteration, batches.iteration) as iteration,
  coalesce(drawn.doc_id, batches.doc_id) as doc_id
from (select chain, iteration, doc_id from {{ ref('stg_decisions') }} where drawn) as drawn
full join {{ ref('stg_batches') }} as batches
  on batches.chain = drawn.chain and batches.iteration = drawn.iteration and batches.doc_id = drawn.doc_id
where drawn.doc_id is null or batches.doc_id is null
