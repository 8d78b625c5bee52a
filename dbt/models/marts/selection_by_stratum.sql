{%- set dimensions = ['stratum', 'toxicity_bin', 'domain', 'source', 'identity_group', 'topic'] %}
with candidates as (
  select * replace (cast(toxicity_bin as varchar) as toxicity_bin, cast(topic as varchar) as topic)
  from {{ ref('stg_candidates') }}
),

-- One pass over the candidates for all dimensions.
grouped as (
  select
    chain,
    iteration,
    any_value(ordinal) as ordinal,
    {% for dimension in dimensions -%}
    {{ dimension }},
    grouping({{ dimension }}) as not_{{ dimension }},
    {% endfor -%}
    count(*) as pool_documents,
    coalesce(sum(n_tokens), 0) as pool_tokens,
    count(*) filter (where in_batch) as batch_documents,
    sum(batch_tokens) as batch_tokens,
    coalesce(sum(weight * batch_tokens), 0) as weighted_tokens,
    avg(probability) as mean_probability,
    avg(weight) as mean_weight
  from candidates
  group by grouping sets (
    {%- for dimension in dimensions %}
    (chain, iteration, {{ dimension }}){{ "," if not loop.last }}
    {%- endfor %}
  )
),

named as (
  select
    chain,
    iteration,
    ordinal,
    case {% for dimension in dimensions %} when not_{{ dimension }} = 0 then '{{ dimension }}' {% endfor %} end as dimension,
    coalesce(
      case {% for dimension in dimensions %} when not_{{ dimension }} = 0 then {{ dimension }} {% endfor %} end, 'unknown'
    ) as value,
    pool_documents,
    pool_tokens,
    batch_documents,
    batch_tokens,
    weighted_tokens,
    mean_probability,
    mean_weight
  from grouped
)

select
  chain,
  iteration,
  ordinal,
  dimension,
  value,
  cast(sum(pool_documents) as bigint) as pool_documents,
  cast(sum(pool_tokens) as bigint) as pool_tokens,
  cast(sum(batch_documents) as bigint) as batch_documents,
  cast(sum(batch_tokens) as bigint) as batch_tokens,
  coalesce(sum(pool_tokens) / nullif(sum(sum(pool_tokens)) over whole, 0), 0) as pool_token_share,
  coalesce(sum(batch_tokens) / nullif(sum(sum(batch_tokens)) over whole, 0), 0) as batch_token_share,
  coalesce(sum(weighted_tokens) / nullif(sum(sum(weighted_tokens)) over whole, 0), 0) as weighted_token_share,
  sum(batch_documents) / sum(pool_documents) as selection_rate,
  sum(mean_probability * pool_documents) / sum(pool_documents) as mean_probability,
  sum(mean_weight * batch_documents) / nullif(sum(batch_documents), 0) as mean_weight
from named
group by chain, iteration, ordinal, dimension, value
window whole as (partition by chain, iteration, dimension)
order by chain, ordinal, dimension, value
