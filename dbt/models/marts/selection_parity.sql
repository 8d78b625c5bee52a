-- The estimator is `curation_pipeline/reward/parity.py`; here its rows are only those of the attempt that counts.
select * exclude (attempt, rate), rate as selection_rate
from (
  {{ current_attempt(source('lake', 'batch_parity'), [
    'identity_group', 'documents', 'rate', 'parity', 'parity_low', 'parity_high']) }}
)
order by chain, ordinal, identity_group
