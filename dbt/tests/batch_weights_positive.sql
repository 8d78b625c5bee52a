select chain, iteration, doc_id, weight
from {{ ref('stg_batches') }}
where weight is null or isnan(weight) or weight <= 0
