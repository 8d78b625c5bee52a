-- The seeds of one evaluation are averaged; their interval is the envelope of the seeds' intervals.
with by_iteration as (
  select
    chain,
    {{ arm('chain') }} as arm,
    iteration,
    ordinal,
    benchmark,
    metric,
    coalesce(judge, 'none') as judge,
    any_value(axis) as axis,
    bool_and(higher_is_better) as higher_is_better,
    avg(value) as value,
    min(ci_low) as ci_low,
    max(ci_high) as ci_high,
    cast(sum(n) as bigint) as n,
    count(distinct seed) as n_seeds
  from {{ ref('stg_metrics') }}
  group by all
),

baseline as (
  select ordinal, benchmark, metric, judge, avg(value) as value
  from by_iteration
  where arm = '{{ var("baseline_arm") }}'
  group by all
)

select
  by_iteration.chain,
  by_iteration.arm,
  by_iteration.iteration,
  by_iteration.ordinal,
  state.status,
  by_iteration.benchmark,
  by_iteration.metric,
  by_iteration.judge,
  by_iteration.axis,
  by_iteration.higher_is_better,
  by_iteration.value,
  by_iteration.ci_low,
  by_iteration.ci_high,
  by_iteration.n,
  by_iteration.n_seeds,
  by_iteration.value - lag(by_iteration.value) over history as change_from_previous,
  baseline.value as baseline_value,
  by_iteration.value - baseline.value as change_from_baseline,
  (by_iteration.value - baseline.value) / nullif(abs(baseline.value), 0) as relative_change_from_baseline
from by_iteration
left join {{ ref('stg_state') }} as state
  on state.chain = by_iteration.chain and state.iteration = by_iteration.iteration
left join baseline
  on baseline.ordinal = by_iteration.ordinal
  and baseline.benchmark = by_iteration.benchmark
  and baseline.metric = by_iteration.metric
  and baseline.judge = by_iteration.judge
window history as (
  partition by by_iteration.chain, by_iteration.benchmark, by_iteration.metric, by_iteration.judge
  order by by_iteration.ordinal
)
order by by_iteration.chain, by_iteration.ordinal, by_iteration.axis, by_iteration.benchmark, by_iteration.metric
