{{ current_attempt(source('lake', 'decisions'), ['doc_id', 'probability', 'drawn', 'weight', 'reason']) }}
