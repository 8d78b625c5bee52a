-- What is removed may not be drawn, so it may not stand in the pool of the same iteration.
select removed.chain, removed.iteration, removed.doc_id, removed.cause
from {{ ref('stg_removed') }} as removed
join {{ ref('stg_pool') }} as pool
  on pool.chain = removed.chain and pool.iteration = removed.iteration and pool.doc_id = removed.doc_id
