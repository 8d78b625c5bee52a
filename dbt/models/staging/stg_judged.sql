select doc_id, source, role, toxic
from {{ source('lake', 'judged') }}
