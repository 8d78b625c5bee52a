-- An interval is given at both ends or not at all, and holds its value (up to rounding).
select chain, iteration, benchmark, metric, value, ci_low, ci_high
from {{ ref('stg_metrics') }}
where (ci_low is null) <> (ci_high is null)
  or value < ci_low - 1e-9
  or value > ci_high + 1e-9
