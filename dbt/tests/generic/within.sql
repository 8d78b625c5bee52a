{#- Every value that is present lies in [at_least, at_most]. -#}
{% test within(model, column_name, at_least=none, at_most=none) %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} is not null
  and (
    isnan(cast({{ column_name }} as double))
    {% if at_least is not none %} or {{ column_name }} < {{ at_least }} {% endif %}
    {% if at_most is not none %} or {{ column_name }} > {{ at_most }} {% endif %}
  )
{% endtest %}
