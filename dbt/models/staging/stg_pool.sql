{{ current_attempt(source('lake', 'pool'), [
  'doc_id', 'source', 'snapshot', 'domain', 'n_tokens', 'topic', 'toxicity_bin', 'identity_group', 'stratum',
  'p_harm', 'loop_rows.alignment', 'quality', 'n_drawn']) }}
