-- What the two people decide about an offer: accept, decline, step back, release. Each is one transaction over the
-- request, the conversation and the events (rule 11 names the order of the locks).

create or replace function care.lock_request_of(p_community_id uuid, p_thread care.thread)
returns public.help_requests
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_request public.help_requests;
begin
  select r.*
    into v_request
    from public.help_requests r
   where r.community_id = p_community_id
     and r.id = p_thread.help_request_id
     for no key update;
  return v_request;
end
$$;
comment on function care.lock_request_of(uuid, care.thread) is 'The request of a conversation, locked.';

create or replace function care.assign_helper(p_community_id uuid, p_help_request_id uuid, p_helper_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  update public.help_requests r
     set status = case when p_helper_id is null then 'open' else 'in_progress' end,
         helper_id = p_helper_id,
         in_progress_at = case when p_helper_id is null then null else v_now end,
         updated_at = v_now
   where r.community_id = p_community_id
     and r.id = p_help_request_id;
end
$$;
comment on function care.assign_helper(uuid, uuid, uuid) is
  'Gives a locked request that takes offers to a helper (in_progress), or to nobody (open).';

create or replace function public.accept_offer(p_conversation_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_caller uuid;
  v_me care.writing;
  v_thread care.thread;
  v_request public.help_requests;
  v_replaced uuid;
begin
  v_caller := care.caller();
  -- Read without a lock only to know whose profiles to lock: the two people of a conversation never change.
  v_thread := care.find_thread(care.community(), v_caller, p_conversation_id);
  v_me := care.begin_write(v_caller, 'write', 'accept', jsonb_build_array(p_conversation_id),
    p_others => array_remove(array[v_thread.helper_id], null));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  if v_thread.requester_id <> v_me.user_id then
    return care.refusal('permission_denied', 'role');
  end if;
  v_request := care.lock_request_of(v_me.community_id, v_thread);
  v_thread := care.lock_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  -- Whom a suspension or a ban would take the request from cannot be given it (product.md, life of a request).
  if v_thread.shown_status <> 'active' or not care.takes_offers(v_request.status)
     or (care.allow(v_me.community_id, v_thread.helper_id, 'write')).refusal is not null then
    return care.refusal('conflict', 'state',
      jsonb_build_object('status', v_thread.shown_status, 'help_request_status', v_request.status));
  end if;

  -- A second tap finds the helper assigned and is told so; it is no second event.
  if v_request.helper_id is distinct from v_thread.helper_id then
    perform care.assign_helper(v_me.community_id, v_request.id, v_thread.helper_id);
    perform care.announce(v_me.community_id, v_me.user_id, 'offer.accepted', v_request.id, v_thread.id);
    perform care.bring_back(v_me.community_id, v_thread.id, v_me.user_id);
    perform care.notify_other(v_me, v_thread, 'offer.accepted');
    select t.id
      into v_replaced
      from care.threads t
     where t.community_id = v_me.community_id
       and t.help_request_id = v_request.id
       and t.helper_id = v_request.helper_id;
    if found then
      perform care.announce(v_me.community_id, v_me.user_id, 'offer.replaced', v_request.id, v_replaced);
      perform care.bring_back(v_me.community_id, v_replaced, v_me.user_id);
      perform care.notify(
        v_me.community_id, v_request.helper_id, 'offer.replaced', v_me.user_id, v_request.id, v_replaced);
    end if;
  end if;
  return care.remember(v_me, jsonb_build_object(
    'success', true, 'help_request_id', v_request.id, 'help_request_status', 'in_progress',
    'helper_id', v_thread.helper_id));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('accept_offer', sqlstate, sqlerrm);
end
$$;
comment on function public.accept_offer(uuid) is
  'Accepts an offer on the caller''s request: assigns the helper, in place of another where there was one.';

create or replace function public.decline_offer(p_conversation_id uuid, p_reason text default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_reason text;
  v_thread care.thread;
  v_request public.help_requests;
begin
  v_reason := care.text_or_null(p_reason);
  v_me := care.begin_write(care.caller(), 'write', 'decline', jsonb_build_array(p_conversation_id, v_reason),
    care.check_text('reason', v_reason, 0, 500));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  if v_thread.requester_id <> v_me.user_id then
    return care.refusal('permission_denied', 'role');
  end if;
  v_request := care.lock_request_of(v_me.community_id, v_thread);
  v_thread := care.lock_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.shown_status <> 'active' then
    return care.refusal('conflict', 'state', jsonb_build_object('status', v_thread.shown_status));
  end if;

  perform care.set_thread_status(v_me.community_id, v_thread, 'declined', v_me.user_id, v_reason);
  -- Declining the helper who was accepted before takes the request back from them.
  if v_request.status = 'in_progress' and v_request.helper_id = v_thread.helper_id then
    perform care.assign_helper(v_me.community_id, v_request.id, null);
  end if;
  perform care.announce(v_me.community_id, v_me.user_id, 'offer.declined', v_request.id, v_thread.id);
  perform care.notify_other(v_me, v_thread, 'offer.declined');
  return care.remember(v_me,
    jsonb_build_object('success', true, 'status', 'declined'));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('decline_offer', sqlstate, sqlerrm);
end
$$;
comment on function public.decline_offer(uuid, text) is
  'Declines an offer on the caller''s request, with an optional reason (to 500 characters) that the helper reads.';

create or replace function care.take_back(p_conversation_id uuid, p_by_helper boolean, p_topic text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.writing := care.begin_write(care.caller(), 'write', p_topic, jsonb_build_array(p_conversation_id));
  v_thread care.thread;
  v_request public.help_requests;
begin
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  if (v_thread.helper_id = v_me.user_id) <> p_by_helper then
    return care.refusal('permission_denied', 'role');
  end if;
  v_request := care.lock_request_of(v_me.community_id, v_thread);
  if v_request.status <> 'in_progress' or v_request.helper_id <> v_thread.helper_id then
    return care.refusal('conflict', 'state', jsonb_build_object('help_request_status', v_request.status));
  end if;
  perform care.assign_helper(v_me.community_id, v_request.id, null);
  perform care.announce(v_me.community_id, v_me.user_id, p_topic, v_request.id, v_thread.id);
  perform care.bring_back(v_me.community_id, v_thread.id, v_me.user_id);
  perform care.notify_other(v_me, v_thread, p_topic);
  return care.remember(v_me,
    jsonb_build_object('success', true, 'help_request_id', v_request.id, 'help_request_status', 'open'));
end
$$;
comment on function care.take_back(uuid, boolean, text) is 'Reopens a request in progress: by its helper, or by its owner.';

create or replace function public.step_back(p_conversation_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  return care.take_back(p_conversation_id, true, 'helper.stepped_back');
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('step_back', sqlstate, sqlerrm);
end
$$;
comment on function public.step_back(uuid) is 'The accepted helper gives the request back; it is open again.';

create or replace function public.release_helper(p_conversation_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  return care.take_back(p_conversation_id, false, 'helper.released');
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('release_helper', sqlstate, sqlerrm);
end
$$;
comment on function public.release_helper(uuid) is 'The owner releases the accepted helper; the request is open again.';
