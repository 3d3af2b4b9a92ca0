-- The V1 engine: an offer takes three calls and three commits. Not atomic, on purpose: that is what it is. A call that
-- never comes leaves an orphan, which the helper's retry completes. Retiring V1 deletes this file, and with it the V1 arms of
-- conversations.sql, threads.sql, doctor.sql and the completion of orphans in atomic.sql.

create or replace function public.legacy_open_conversation(p_help_request_id uuid, p_initial_message text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_offer care.opening;
  v_me care.writing;
  v_id uuid;
  v_now timestamptz;
  v_before timestamptz;
begin
  v_offer := care.admit_offer(care.caller(), p_help_request_id, p_initial_message);
  v_me := v_offer.me;
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  -- As engine_off in V2, after the gate: a replay and an existing conversation are still answered.
  if care.is_paused('messaging_v2', v_me.community_id) then
    return care.refusal('unavailable', 'paused');
  end if;
  v_id := v_offer.orphan_id;
  if v_id is null then
    -- Counted first, so that created_at stands within the window that counted it: admit_orphan asks for that.
    perform care.count_use(v_me.community_id, v_me.user_id, 'conversations');
    v_now := clock_timestamp();
    insert into public.conversations
      (community_id, help_request_id, created_by, requester_id, created_at, updated_at)
    values (v_me.community_id, p_help_request_id, v_me.user_id, v_offer.requester_id, v_now, v_now)
    returning id into v_id;
  else
    -- Under way again: legacy repair keeps off for a minute at least.
    v_now := clock_timestamp();
    v_before := v_now - interval '30 seconds';
    update public.conversations c
       set updated_at = v_now
     where c.community_id = v_me.community_id
       and c.id = v_id
       and c.updated_at < v_before;
  end if;
  -- The key is taken and has no answer yet: step three gives it one together with the message.
  perform care.remember(v_me, jsonb_build_object('conversation_id', v_id));
  -- V1's fault was to look the recipient up again, where a policy hid them: here it is passed on.
  return jsonb_build_object('success', true, 'conversation_id', v_id, 'recipient_id', v_offer.requester_id);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('legacy_open_conversation', sqlstate, sqlerrm);
end
$$;
comment on function public.legacy_open_conversation(uuid, text) is
  'V1, first of three steps: all checks of an offer and the conversation''s row; names the recipient for the next two. An answer without recipient_id needs no further step.';

create or replace function public.legacy_add_participants(p_conversation_id uuid, p_recipient_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
begin
  v_me := care.begin_write(care.caller(), 'offer');
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  if not care.legacy_is_own(v_me.community_id, v_me.user_id, p_conversation_id, p_recipient_id) then
    return care.legacy_elsewhere(v_me.community_id, v_me.user_id, p_conversation_id);
  end if;
  insert into public.conversation_participants (community_id, conversation_id, user_id)
  values (v_me.community_id, p_conversation_id, v_me.user_id),
         (v_me.community_id, p_conversation_id, p_recipient_id)
  on conflict on constraint conversation_participants_pkey do nothing;
  return jsonb_build_object('success', true);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('legacy_add_participants', sqlstate, sqlerrm);
end
$$;
comment on function public.legacy_add_participants(uuid, uuid) is 'V1, second of three steps: the two people. May be repeated.';

create or replace function care.legacy_is_own(
  p_community_id uuid, p_user_id uuid, p_conversation_id uuid, p_recipient_id uuid)
returns boolean
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  perform 1
     from public.conversations c
    where c.community_id = p_community_id
      and c.id = p_conversation_id
      and c.created_by = p_user_id
      and c.requester_id = p_recipient_id
      for no key update;
  return found;
end
$$;
comment on function care.legacy_is_own(uuid, uuid, uuid, uuid) is
  'Whether the conversation was opened by this helper and the recipient really is its requester; locks its row.';

create or replace function care.legacy_elsewhere(p_community_id uuid, p_user_id uuid, p_conversation_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_thread care.thread := care.find_thread(p_community_id, p_user_id, p_conversation_id);
begin
  return case
    when v_thread.version = 'v2' and v_thread.helper_id = p_user_id then
      care.conversation_exists(v_thread.id, v_thread.shown_status)
    else care.refusal('permission_denied', 'not_participant')
  end;
end
$$;
comment on function care.legacy_elsewhere(uuid, uuid, uuid) is
  'The refusal of a step whose conversation is not V1''s: it was moved between two steps of a second tap, or is not the helper''s.';

create or replace function care.legacy_has_people(
  p_community_id uuid, p_conversation_id uuid, p_one uuid, p_other uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select count(*) = 2
      from public.conversation_participants p
     where p.community_id = p_community_id
       and p.conversation_id = p_conversation_id
       and p.user_id in (p_one, p_other));
end
$$;
comment on function care.legacy_has_people(uuid, uuid, uuid, uuid) is 'Whether V1''s second step has been: both people are there.';

create or replace function public.legacy_write_first_message(
  p_conversation_id uuid, p_recipient_id uuid, p_content text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_content text;
  v_refusal jsonb;
  v_request record;
  v_thread record;
begin
  v_content := care.trim_text(p_content);
  v_me := care.begin_write(care.caller(), 'offer', p_invalid => care.check_text('initial_message', v_content, 10, 1000));
  if v_me.answer is not null then
    return v_me.answer;
  end if;

  -- The request once more, locked before the conversation: nothing is opened on one that has ended since step one.
  select r.id, r.status
    into v_request
    from public.help_requests r
   where r.community_id = v_me.community_id
     and r.id = (
       select c.help_request_id
         from public.conversations c
        where c.community_id = v_me.community_id
          and c.id = p_conversation_id)
     for no key update;
  if not care.legacy_is_own(v_me.community_id, v_me.user_id, p_conversation_id, p_recipient_id)
     or not care.legacy_has_people(v_me.community_id, p_conversation_id, v_me.user_id, p_recipient_id) then
    return care.legacy_elsewhere(v_me.community_id, v_me.user_id, p_conversation_id);
  end if;
  v_me := care.recall(v_me, 'offer', jsonb_build_array(v_request.id, v_content));
  if v_me.answer is not null then
    return care.replay_offer(v_me.community_id, v_me.answer);
  end if;

  -- Between the steps another call of the helper's may have written the message. One of them opened the conversation,
  -- and without its key nobody can be told apart from a second tap.
  select t.id, t.status
    into v_thread
    from care.threads t
   where t.community_id = v_me.community_id
     and t.id = p_conversation_id;
  if found then
    return care.conversation_exists(v_thread.id, care.shown_status(v_thread.status,
      care.is_blocked(v_me.community_id, v_me.user_id, p_recipient_id)));
  end if;
  if care.is_blocked(v_me.community_id, v_me.user_id, p_recipient_id) then
    return care.refusal('not_found');
  end if;
  if not care.takes_offers(v_request.status) or care.offers_paused(v_me.community_id, p_recipient_id) then
    return care.refusal('help_request_unavailable');
  end if;
  v_refusal := care.admit_orphan(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_refusal is not null then
    return v_refusal;
  end if;

  return care.remember(v_me, care.legacy_first_message(
    v_me.community_id, v_request.id, p_conversation_id, v_me.user_id, p_recipient_id, v_content));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('legacy_write_first_message', sqlstate, sqlerrm);
end
$$;
comment on function public.legacy_write_first_message(uuid, uuid, text) is
  'V1, last of three steps: the first message, both inboxes and the event. Success goes to the one call that wrote them, and to the retries of its key.';

create or replace function care.admit_orphan(p_community_id uuid, p_user_id uuid, p_conversation_id uuid)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_limit record := care.limit_of(p_community_id, 'conversations');
  v_oldest timestamptz := v_now - make_interval(secs => v_limit.per_seconds);
  v_refusal jsonb;
begin
  -- A first message is counted in the window in which it is delivered: orphans of earlier hours are not in this one's.
  perform 1
     from public.conversations c
     join care.rate_counters r
       on r.community_id = c.community_id
      and r.user_id = p_user_id
      and r.kind = 'conversations'
    where c.community_id = p_community_id
      and c.id = p_conversation_id
      and c.created_at >= r.window_start
      and r.window_start > v_oldest;
  if found then
    return null;
  end if;
  v_refusal := care.over_limit(p_community_id, p_user_id, 'conversations');
  if v_refusal is not null then
    return v_refusal;
  end if;
  perform care.count_use(p_community_id, p_user_id, 'conversations');
  -- From here on it is an opening of this window, and the steps that follow use nothing.
  v_now := clock_timestamp();
  update public.conversations c
     set created_at = v_now,
         updated_at = v_now
   where c.community_id = p_community_id
     and c.id = p_conversation_id;
  return null;
end
$$;
comment on function care.admit_orphan(uuid, uuid, uuid) is
  'Judges and counts the completion of an orphan like an opening, unless the window that counted it still runs.';

create or replace function care.legacy_first_message(
  p_community_id uuid, p_help_request_id uuid, p_conversation_id uuid, p_helper_id uuid, p_requester_id uuid,
  p_content text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_status text;
begin
  insert into public.messages
    (community_id, conversation_id, seq, sender_id, recipient_id, content, created_at, updated_at)
  values (p_community_id, p_conversation_id, 0, p_helper_id, p_requester_id, p_content, v_now, v_now);
  update public.conversations c
     set last_seq = 0,
         last_message_at = v_now,
         updated_at = v_now
   where c.community_id = p_community_id
     and c.id = p_conversation_id
  returning c.status into v_status;
  perform care.enter_inboxes(p_community_id, p_conversation_id, 'v1', p_helper_id, p_requester_id);
  perform care.announce(p_community_id, p_helper_id, 'conversation.opened', p_help_request_id, p_conversation_id, 0);
  if v_status <> 'held' then
    perform care.notify(
      p_community_id, p_requester_id, 'offer.received', p_helper_id, p_help_request_id, p_conversation_id);
  end if;
  return care.offer_answer(p_conversation_id);
end
$$;
comment on function care.legacy_first_message(uuid, uuid, uuid, uuid, uuid, text) is
  'Writes message 0 of a V1 conversation with all that belongs to it.';

create or replace function care.complete_orphan(
  p_me care.writing, p_help_request_id uuid, p_orphan_id uuid, p_requester_id uuid, p_message text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  insert into public.conversation_participants (community_id, conversation_id, user_id)
  values (p_me.community_id, p_orphan_id, p_me.user_id),
         (p_me.community_id, p_orphan_id, p_requester_id)
  on conflict on constraint conversation_participants_pkey do nothing;
  -- The caller asked V2 and is told which engine holds the conversation.
  perform set_config('response.headers', '[{"Conversation-Version": "v1"}]', true);
  return care.remember(p_me, care.legacy_first_message(
    p_me.community_id, p_help_request_id, p_orphan_id, p_me.user_id, p_requester_id, p_message));
end
$$;
comment on function care.complete_orphan(care.writing, uuid, uuid, uuid, text) is
  'Completes, inside the call of V2, what V1 left without a message.';
