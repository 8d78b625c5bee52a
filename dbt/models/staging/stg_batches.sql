{{ current_attempt(source('lake', 'batches'), ['doc_id', 'weight', 'n_tokens']) }}
