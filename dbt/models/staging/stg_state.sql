select
  chain,
  iteration,
  cast(ordinal as integer) as ordinal,
  cast(attempt as integer) as attempt,
  status,
  policy_id,
  checkpoint_id,
  reward_model_id,
  batch_id,
  parent_iteration,
  cast(committed_at as timestamptz) as committed_at,
  safety,
  alignment,
  capability,
  performance,
  cast(token_budget as bigint) as token_budget
from {{ source('lake', 'state') }}
qualify row_number() over (partition by chain, iteration order by attempt desc, committed_at desc) = 1
