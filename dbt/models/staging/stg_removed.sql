{{ current_attempt(source('lake', 'removed'), ['doc_id', 'cause', 'detail']) }}
