-- What both engines share: one view of conversations and one of messages, the gate of an offer, the lock of a thread.

-- Heads that an earlier text had go in the transaction that writes the present ones, so that no call meets neither.
drop function if exists
  care.admit(uuid, text, uuid[]),
  care.admit_offer(uuid, uuid, text),
  care.append_message(care.admission, care.thread, text),
  care.complete_orphan(care.offer, uuid),
  care.message_json(care.thread_messages),
  public.list_conversations(text, integer, text),
  care.recall(uuid, uuid, text, jsonb),
  care.remember(uuid, uuid, text, bytea, jsonb),
  care.replay(jsonb);
drop type if exists care.offer, care.recollection;

-- Every conversation that exists for people, whichever engine keeps it. An orphan of V1 (last_seq -1) is none yet.
-- Each arm reads one table: a join in one would keep an id from reaching its index.
create or replace view care.threads with (security_invoker = true) as
  select c.community_id, c.id, 'v2'::text as version, c.help_request_id, c.requester_id, c.helper_id, c.initial_message,
         c.status, c.status_by, c.decline_reason, c.last_seq, c.created_at, c.updated_at, c.hidden_at
    from public.conversations_v2 c
   union all
  select c.community_id, c.id, 'v1'::text, c.help_request_id, c.requester_id, c.created_by, null::text,
         c.status, c.status_by, c.decline_reason, c.last_seq, c.created_at, c.updated_at, c.hidden_at
    from public.conversations c
   where c.last_seq >= 0;
comment on view care.threads is 'Conversations of both engines in one shape (rule 14).';

-- Every message of both engines; V2's first one is read from its conversation, as seq 0 and with the conversation's id
-- unless it was moved from V1, where it had its own.
create or replace view care.thread_messages with (security_invoker = true) as
  select m.community_id, m.conversation_id, m.seq, m.id, m.sender_id, m.recipient_id, m.content, m.created_at,
         m.updated_at, m.hidden_at
    from public.messages_v2 m
   union all
  select c.community_id, c.id, 0, coalesce(c.initial_message_id, c.id), c.helper_id, c.requester_id, c.initial_message,
         coalesce(c.initial_message_at, c.created_at), coalesce(c.initial_message_updated_at, c.created_at), c.hidden_at
    from public.conversations_v2 c
   union all
  select m.community_id, m.conversation_id, m.seq, m.id, m.sender_id, m.recipient_id, m.content, m.created_at,
         m.updated_at, m.hidden_at
    from public.messages m;
comment on view care.thread_messages is 'Messages of both engines in one shape, the first of each thread as seq 0.';

-- A column and no function: a call a message cost as much as its JSON. Put into JSON, the type's members are its keys.
create or replace view care.shown_messages with (security_invoker = true) as
  select m.community_id, m.conversation_id, m.seq, s.message
    from care.thread_messages m
   cross join lateral (
     -- A hidden message keeps its place and loses its words.
     select row(m.id, m.seq, m.sender_id, case when m.hidden_at is null then m.content end, m.created_at, m.updated_at
            )::care.message as message
   ) s;
comment on view care.shown_messages is 'Messages of both engines as their two people see them: the one serializer of a message.';

create or replace function care.shown_status(p_status text, p_blocked boolean)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return case when p_blocked and p_status = 'active' then 'closed' else p_status end;
end
$$;
comment on function care.shown_status(text, boolean) is 'A conversation''s status as its people see it: under a block it looks closed.';

create or replace function care.admit_offer(p_caller uuid, p_help_request_id uuid, p_initial_message text)
returns care.opening
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_message text := care.trim_text(p_initial_message);
  v_me care.writing;
  v_request record;
  v_blocked boolean;
  v_thread record;
  v_orphan_id uuid;
begin
  -- One fingerprint for both engines: a retry may come after the flag has moved.
  v_me := care.begin_write(p_caller, 'offer', 'offer', jsonb_build_array(p_help_request_id, v_message),
    care.check_text('initial_message', v_message, 10, 1000));
  if v_me.answer is not null then
    v_me.answer := care.replay_offer(v_me.community_id, v_me.answer);
    return row(v_me, null, null, null)::care.opening;
  end if;

  -- This lock orders offers on the request against each other, across engines, and against its end (rule 9).
  select r.user_id, r.status
    into v_request
    from public.help_requests r
   where r.community_id = v_me.community_id
     and r.id = p_help_request_id
     for no key update;
  if not found then
    v_me.answer := care.refusal('not_found');
    return row(v_me, null, null, null)::care.opening;
  end if;

  v_blocked := care.is_blocked(v_me.community_id, v_me.user_id, v_request.user_id);
  select t.id, t.status
    into v_thread
    from care.threads t
   where t.community_id = v_me.community_id
     and t.help_request_id = p_help_request_id
     and t.helper_id = v_me.user_id;
  v_me.answer := case
    when v_blocked and v_thread.id is null then care.refusal('not_found')
    when v_request.user_id = v_me.user_id then
      care.refusal('validation_error', 'own_request', jsonb_build_object('fields', '{}'::jsonb))
    when v_thread.id is not null then care.conversation_exists(v_thread.id, care.shown_status(v_thread.status, v_blocked))
    when not care.takes_offers(v_request.status) or care.offers_paused(v_me.community_id, v_request.user_id) then
      care.refusal('help_request_unavailable')
  end;
  if v_me.answer is null then
    v_orphan_id := care.orphan_of(v_me.community_id, p_help_request_id, v_me.user_id);
    v_me.answer := case
      when v_orphan_id is null then care.over_limit(v_me.community_id, v_me.user_id, 'conversations')
      else care.admit_orphan(v_me.community_id, v_me.user_id, v_orphan_id)
    end;
  end if;
  return row(v_me, v_request.user_id, v_message, v_orphan_id)::care.opening;
end
$$;
comment on function care.admit_offer(uuid, uuid, text) is
  'The gate of opening a conversation, in the order of contract.md section 3: me.answer is set when there is nothing to open.';

create or replace function care.replay_offer(p_community_id uuid, p_answer jsonb)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_id uuid := (p_answer ->> 'conversation_id')::uuid;
  v_version text;
begin
  -- A refusal names no conversation of its own.
  if v_id is not null then
    select t.version
      into v_version
      from care.threads t
     where t.community_id = p_community_id
       and t.id = v_id;
    -- The answer's shape is fixed, so that the engine is told beside it.
    perform set_config('response.headers',
      format('[{"Idempotency-Replayed": "true"}, {"Conversation-Version": "%s"}]', v_version), true);
  end if;
  return p_answer;
end
$$;
comment on function care.replay_offer(uuid, jsonb) is
  'An answer that begin_write gave to an opening; a recalled one with its engine in the response headers.';

create or replace function care.takes_offers(p_status text)
returns boolean
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return p_status in ('open', 'in_progress');
end
$$;
comment on function care.takes_offers(text) is 'Whether a request of this status takes offers (product.md, life of a request).';

create or replace function care.offer_answer(p_conversation_id uuid)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return jsonb_build_object('success', true, 'conversation_id', p_conversation_id,
    'message', 'Your offer is sent. You can both write now.');
end
$$;
comment on function care.offer_answer(uuid) is 'The success answer of an offer, whichever engine opened the conversation.';

create or replace function care.conversation_exists(p_conversation_id uuid, p_status text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return care.refusal('conversation_exists', null,
    jsonb_build_object('conversation_id', p_conversation_id, 'status', p_status));
end
$$;
comment on function care.conversation_exists(uuid, text) is 'The refusal that leads to the conversation there already is.';

create or replace function care.orphan_of(p_community_id uuid, p_help_request_id uuid, p_helper_id uuid)
returns uuid
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_id uuid;
begin
  select c.id
    into v_id
    from public.conversations c
   where c.community_id = p_community_id
     and c.help_request_id = p_help_request_id
     and c.created_by = p_helper_id
     and c.last_seq < 0;
  return v_id;
end
$$;
comment on function care.orphan_of(uuid, uuid, uuid) is 'The V1 conversation without a message that this helper''s retry completes, or null.';

create or replace function care.enter_inboxes(
  p_community_id uuid, p_conversation_id uuid, p_version text, p_helper_id uuid, p_requester_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  insert into public.conversation_members
    (community_id, conversation_id, user_id, version, last_read_seq, unread, last_activity_at)
  values
    (p_community_id, p_conversation_id, p_helper_id, p_version, 0, 0, v_now),
    (p_community_id, p_conversation_id, p_requester_id, p_version, -1, 1, v_now);
end
$$;
comment on function care.enter_inboxes(uuid, uuid, text, uuid, uuid) is
  'Puts a conversation with its first message into both inboxes: read by its helper, unread by the requester.';

create or replace function care.announce(
  p_community_id uuid, p_actor_id uuid, p_topic text, p_help_request_id uuid, p_conversation_id uuid,
  p_seq integer default null)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  insert into care.outbox (community_id, topic, help_request_id, conversation_id, seq, actor_id, created_at)
  values (p_community_id, p_topic, p_help_request_id, p_conversation_id, p_seq, p_actor_id, v_now);
end
$$;
comment on function care.announce(uuid, uuid, text, uuid, uuid, integer) is
  'Writes what others are to be told, in the transaction that did it (rule 13).';

create or replace function care.find_thread(p_community_id uuid, p_user_id uuid, p_conversation_id uuid)
returns care.thread
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_thread care.thread;
begin
  select t.id, t.version, t.help_request_id, t.requester_id, t.helper_id, t.status, t.status, t.status_by, t.last_seq
    into v_thread
    from care.threads t
   where t.community_id = p_community_id
     and t.id = p_conversation_id
     -- Absent and foreign alike; a held first contact does not exist for the requester.
     and (t.helper_id = p_user_id or (t.requester_id = p_user_id and t.status <> 'held'));
  if v_thread.id is not null then
    v_thread.shown_status := care.shown_status(v_thread.status,
      care.is_blocked(p_community_id, v_thread.requester_id, v_thread.helper_id));
  end if;
  return v_thread;
end
$$;
comment on function care.find_thread(uuid, uuid, uuid) is 'A conversation of either engine as one of its two people sees it, or a row of nulls.';

create or replace function care.lock_thread(p_community_id uuid, p_user_id uuid, p_conversation_id uuid)
returns care.thread
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- The two people are part of the condition, so that nobody can hold a stranger's conversation.
  perform 1
     from public.conversations_v2 c
    where c.community_id = p_community_id
      and c.id = p_conversation_id
      and p_user_id in (c.requester_id, c.helper_id)
      for no key update;
  if not found then
    perform 1
       from public.conversations c
      where c.community_id = p_community_id
        and c.id = p_conversation_id
        and p_user_id in (c.created_by, c.requester_id)
        for no key update;
  end if;
  return care.find_thread(p_community_id, p_user_id, p_conversation_id);
end
$$;
comment on function care.lock_thread(uuid, uuid, uuid) is 'As find_thread, with the conversation''s row locked first: what is read holds until commit.';
