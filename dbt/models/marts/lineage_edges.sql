with edges as (
  select distinct manifest_id, unnest(inputs) as input_id
  from {{ ref('stg_manifests') }}
)

select
  edges.manifest_id,
  made.table_name,
  made.partition_key,
  made.created_at,
  edges.input_id,
  input.table_name as input_table_name,
  input.partition_key as input_partition_key
from edges
inner join {{ ref('stg_manifests') }} as made on made.manifest_id = edges.manifest_id
left join {{ ref('stg_manifests') }} as input on input.manifest_id = edges.input_id
order by made.created_at, edges.manifest_id, edges.input_id
