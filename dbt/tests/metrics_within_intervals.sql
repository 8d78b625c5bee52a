-- An interval is given at both ends or not at all, and holds its value (up to rounding). A gap between groups is a range,
-- which resampling makes wider: its value may lie below the interval.
select chain, iteration, benchmark, metric, value, ci_low, ci_high
from {{ ref('stg_metrics') }}
where (ci_low is null) <> (ci_high is null)
  or (value < ci_low - 1e-9 and metric not like '%\_gap%' escape '\')
  or value > ci_high + 1e-9
