select chain, iteration, dimension, sum(pool_token_share) as pool_share, sum(batch_token_share) as batch_share
from {{ ref('selection_by_stratum') }}
group by all
having abs(pool_share - 1) > 1e-6 or (sum(batch_tokens) > 0 and abs(batch_share - 1) > 1e-6)
