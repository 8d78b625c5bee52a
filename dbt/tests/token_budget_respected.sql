-- The draw meets its budget up to one document; whether tokens are counted by weight is the selector's affair.
with spent as (
  select chain, iteration, sum(n_tokens) as tokens, sum(weight * n_tokens) as weighted_tokens, max(n_tokens) as longest
  from {{ ref('stg_batches') }}
  group by all
)

select spent.*, state.token_budget
from spent
inner join {{ ref('stg_state') }} as state on state.chain = spent.chain and state.iteration = spent.iteration
where state.token_budget is not null
  and least(spent.tokens, spent.weighted_tokens) > state.token_budget + spent.longest
