-- Sorted by document, so that the history of one is read from a few row groups.
select
  decisions.doc_id,
  decisions.chain,
  decisions.iteration,
  decisions.ordinal,
  decisions.attempt,
  decisions.probability,
  decisions.drawn,
  decisions.weight,
  decisions.reason,
  state.status,
  state.batch_id,
  state.checkpoint_id
from {{ ref('stg_decisions') }} as decisions
left join {{ ref('stg_state') }} as state
  on state.chain = decisions.chain and state.iteration = decisions.iteration
order by decisions.doc_id, decisions.chain, decisions.ordinal
