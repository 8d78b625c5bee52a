-- Every drawn document, and everything in a batch, is in documents.
select chosen.chain, chosen.iteration, chosen.doc_id
from (
  select chain, iteration, doc_id from {{ ref('stg_decisions') }} where drawn
  union
  select chain, iteration, doc_id from {{ ref('stg_batches') }}
) as chosen
anti join {{ ref('stg_documents') }} as documents on documents.doc_id = chosen.doc_id
