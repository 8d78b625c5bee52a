{#-
  Rows of the attempt that counts for each chain and iteration: the newest that the commit can have seen, or the newest
  of all while nothing is committed.
  An earlier attempt is never deleted from the lake, so a loop table may hold several.
-#}
{% macro current_attempt(relation, columns) -%}
select
  loop_rows.chain,
  loop_rows.iteration,
  cast(loop_rows.ordinal as integer) as ordinal,
  cast(loop_rows.attempt as integer) as attempt,
  {%- for column in columns %}
  {{ column }}{{ "," if not loop.last }}
  {%- endfor %}
from {{ relation }} as loop_rows
left join {{ ref('stg_state') }} as committed
  on committed.chain = loop_rows.chain and committed.iteration = loop_rows.iteration
window one_iteration as (partition by loop_rows.chain, loop_rows.iteration)
qualify loop_rows.attempt = coalesce(
  max(loop_rows.attempt) filter (where loop_rows.attempt <= committed.attempt) over one_iteration,
  max(loop_rows.attempt) over one_iteration
)
{%- endmacro %}

{#- A chain is named `arm` or `arm/run...`: the arm is what comes before the first slash. -#}
{% macro arm(chain) -%} split_part({{ chain }}, '/', 1) {%- endmacro %}
