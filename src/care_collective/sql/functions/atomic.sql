-- The V2 engine: an offer opens its conversation in one call and one transaction, whole or not at all.

create or replace function public.create_conversation_atomic(
  p_help_request_id uuid, p_helper_id uuid, p_initial_message text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_caller uuid;
  v_offer care.opening;
  v_me care.writing;
  v_id uuid;
  v_status text;
begin
  v_caller := care.caller();
  if p_helper_id is distinct from v_caller then
    return care.refusal('permission_denied', 'identity');
  end if;
  v_offer := care.admit_offer(v_caller, p_help_request_id, p_initial_message);
  v_me := v_offer.me;
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  -- After the gate, so that a replay and an existing conversation are still answered; nothing opens from here on.
  if care.is_stopped('messaging_v2') then
    return care.refusal('unavailable', 'engine_off');
  end if;
  if v_offer.orphan_id is not null then
    -- A conversation keeps its engine: what V1 left half opened is completed there, in this one transaction.
    return care.complete_orphan(v_me, p_help_request_id, v_offer.orphan_id, v_offer.requester_id, v_offer.message);
  end if;

  insert into public.conversations_v2 (community_id, help_request_id, requester_id, helper_id, initial_message)
  values (v_me.community_id, p_help_request_id, v_offer.requester_id, v_me.user_id, v_offer.message)
  on conflict on constraint conversations_v2_pair_key do nothing
  returning id, status into v_id, v_status;
  if v_id is null then
    -- The request's lock keeps this from happening; without the lock the winner's id is still the right answer.
    return (
      select care.conversation_exists(c.id, care.shown_status(c.status,
               care.is_blocked(c.community_id, c.requester_id, c.helper_id)))
        from public.conversations_v2 c
       where c.community_id = v_me.community_id
         and c.help_request_id = p_help_request_id
         and c.helper_id = v_me.user_id);
  end if;

  perform care.enter_inboxes(v_me.community_id, v_id, 'v2', v_me.user_id, v_offer.requester_id);
  perform care.announce(v_me.community_id, v_me.user_id, 'conversation.opened', p_help_request_id, v_id, 0);
  -- To the requester a held one does not exist.
  if v_status <> 'held' then
    perform care.notify(v_me.community_id, v_offer.requester_id, 'offer.received', v_me.user_id, p_help_request_id, v_id);
  end if;
  perform care.count_use(v_me.community_id, v_me.user_id, 'conversations');
  return care.remember(v_me, care.offer_answer(v_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('create_conversation_atomic', sqlstate, sqlerrm);
end
$$;
comment on function public.create_conversation_atomic(uuid, uuid, text) is
  'Offers help: opens the conversation with its first message (10 to 1000 characters), or answers why not.';
