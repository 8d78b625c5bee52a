{{ current_attempt(source('lake', 'metrics'), [
  'benchmark', 'metric', 'value', 'ci_low', 'ci_high', 'n', 'judge', 'seed', 'axis', 'higher_is_better']) }}
