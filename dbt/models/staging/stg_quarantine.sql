select source, snapshot, file, position, "offset", excerpt, reason
from {{ source('lake', 'quarantine') }}
