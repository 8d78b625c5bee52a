with benign as (
  select
    chain,
    iteration,
    any_value(ordinal) as ordinal,
    coalesce(identity_group, 'none') as identity_group,
    count(*) as documents,
    count(*) filter (where in_batch) as selected
  from {{ ref('stg_candidates') }}
  where p_harm < {{ var('benign_p_harm') }}
  group by chain, iteration, coalesce(identity_group, 'none')
),

compared as (
  select
    benign.*,
    benign.selected / benign.documents as selection_rate,
    none.selected / none.documents as selection_rate_none,
    -- Katz's standard error of the logarithm of a ratio of two proportions; absent where either count is zero.
    case when benign.selected > 0 and none.selected > 0 then
      sqrt(greatest(0, 1 / benign.selected - 1 / benign.documents + 1 / none.selected - 1 / none.documents))
    end as log_se
  from benign
  inner join benign as none
    on none.chain = benign.chain and none.iteration = benign.iteration and none.identity_group = 'none'
)

select
  chain,
  iteration,
  ordinal,
  identity_group,
  documents,
  selected,
  selection_rate,
  selection_rate_none,
  selection_rate / nullif(selection_rate_none, 0) as parity,
  case when identity_group <> 'none'
    then selection_rate / nullif(selection_rate_none, 0) * exp(-1.96 * log_se) end as parity_low,
  case when identity_group <> 'none'
    then selection_rate / nullif(selection_rate_none, 0) * exp(1.96 * log_se) end as parity_high
from compared
order by chain, ordinal, identity_group
