-- No text is twice in a pool: a repeat would be drawn, and counted against the budget, more often than the others.
select chain, iteration, doc_id, count(*) as n_rows
from {{ ref('stg_pool') }}
group by all
having count(*) > 1 or doc_id is null
