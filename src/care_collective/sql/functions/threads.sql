-- One conversation: write, read, mark read, close and reopen. The same calls serve both engines; a conversation is
-- read and written where its engine keeps it, whatever the flag says.

create or replace function public.send_message_v2(p_conversation_id uuid, p_sender_id uuid, p_content text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_caller uuid;
  v_content text;
  v_me care.admission;
  v_key care.recollection;
  v_thread care.thread;
  v_refusal jsonb;
begin
  v_caller := care.caller();
  if p_sender_id is distinct from v_caller then
    return care.refusal('permission_denied', 'identity');
  end if;
  v_me := care.admit(v_caller, 'write');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  v_content := care.trim_text(p_content);
  v_key := care.recall(v_me.community_id, v_me.user_id, 'send', jsonb_build_array(p_conversation_id, v_content));
  if v_key.answer is not null then
    return care.replay(v_key.answer);
  end if;
  v_refusal := care.check_text('content', v_content, 1, 1000);
  if v_refusal is not null then
    return v_refusal;
  end if;

  v_thread := care.lock_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  if v_thread.shown_status <> 'active' then
    return care.refusal('permission_denied', 'not_active', jsonb_build_object('status', v_thread.shown_status));
  end if;
  v_refusal := care.over_limit(v_me.community_id, v_me.user_id, 'messages');
  if v_refusal is null and v_me.restriction = 'limited' then
    v_refusal := care.over_limit(v_me.community_id, v_me.user_id, 'messages_limited');
  end if;
  if v_refusal is not null then
    return v_refusal;
  end if;

  return care.remember(v_me.community_id, v_me.user_id, v_key.key, v_key.fingerprint,
    care.append_message(v_me, v_thread, v_content));
exception when others then
  if care.is_transient(sqlstate) then
    raise;
  end if;
  return care.fault('send_message_v2', sqlstate, sqlerrm);
end
$$;
comment on function public.send_message_v2(uuid, uuid, text) is
  'Writes a message (1 to 1000 characters) into one of the caller''s conversations, of either engine.';

create or replace function care.append_message(p_me care.admission, p_thread care.thread, p_content text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_seq integer := p_thread.last_seq + 1;
  v_other uuid := case when p_thread.helper_id = p_me.user_id then p_thread.requester_id else p_thread.helper_id end;
  v_id uuid;
begin
  -- The conversation is locked: this is the only transaction that takes this seq, and it commits before the next.
  if p_thread.version = 'v2' then
    insert into public.messages_v2
      (community_id, conversation_id, seq, sender_id, recipient_id, content, created_at, updated_at)
    values (p_me.community_id, p_thread.id, v_seq, p_me.user_id, v_other, p_content, v_now, v_now)
    returning id into v_id;
    update public.conversations_v2 c
       set last_seq = v_seq,
           updated_at = v_now
     where c.community_id = p_me.community_id
       and c.id = p_thread.id;
  else
    insert into public.messages
      (community_id, conversation_id, seq, sender_id, recipient_id, content, created_at, updated_at)
    values (p_me.community_id, p_thread.id, v_seq, p_me.user_id, v_other, p_content, v_now, v_now)
    returning id into v_id;
    update public.conversations c
       set last_seq = v_seq,
           last_message_at = v_now,
           updated_at = v_now
     where c.community_id = p_me.community_id
       and c.id = p_thread.id;
  end if;

  -- Writing is not reading: the sender's own marks stay, so that nothing unread is ever marked by the system.
  update public.conversation_members m
     set unread = m.unread + case when m.user_id = v_other then 1 else 0 end,
         last_activity_at = v_now
   where m.community_id = p_me.community_id
     and m.conversation_id = p_thread.id;
  perform care.announce(p_me.community_id, p_me.user_id, 'message.sent', p_thread.help_request_id, p_thread.id, v_seq);
  perform care.count_use(p_me.community_id, p_me.user_id, 'messages');
  if p_me.restriction = 'limited' then
    perform care.count_use(p_me.community_id, p_me.user_id, 'messages_limited');
  end if;
  return jsonb_build_object('success', true, 'message_id', v_id, 'seq', v_seq, 'message', 'Sent.');
end
$$;
comment on function care.append_message(care.admission, care.thread, text) is
  'Writes the next message of a locked conversation, in its own engine, with both inboxes and the event.';

create or replace function care.message_json(p_message care.thread_messages)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- A hidden message keeps its place and loses its words.
  return jsonb_build_object(
    'id', p_message.id, 'seq', p_message.seq, 'sender_id', p_message.sender_id,
    'content', case when p_message.hidden_at is null then p_message.content end,
    'created_at', p_message.created_at, 'updated_at', p_message.updated_at);
end
$$;
comment on function care.message_json(care.thread_messages) is 'The one serializer of a message.';

create or replace function care.read_page(
  p_community_id uuid, p_conversation_id uuid, p_first integer, p_before integer, p_after integer, p_limit integer,
  out messages jsonb, out has_more boolean)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_rows care.thread_messages[];
begin
  -- One row more than asked for tells whether there is more. Keyset on seq, never on time (rule 10).
  if p_after is not null then
    v_rows := array(
      select m
        from care.thread_messages m
       where m.community_id = p_community_id
         and m.conversation_id = p_conversation_id
         and m.seq > p_after
         and m.seq >= p_first
       order by m.seq
       limit p_limit + 1);
  else
    v_rows := array(
      select m
        from care.thread_messages m
       where m.community_id = p_community_id
         and m.conversation_id = p_conversation_id
         and m.seq < p_before
         and m.seq >= p_first
       order by m.seq desc
       limit p_limit + 1);
  end if;
  has_more := cardinality(v_rows) > p_limit;
  select coalesce(jsonb_agg(care.message_json(m) order by m.seq), '[]')
    into messages
    from unnest(v_rows[:p_limit]) as m;
end
$$;
comment on function care.read_page(uuid, uuid, integer, integer, integer, integer) is
  'A page of a thread, oldest first: what follows seq p_after, or else what precedes p_before; nothing below p_first.';

create or replace function public.get_conversation_v2(p_conversation_id uuid, p_user_id uuid)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_caller uuid;
  v_me care.admission;
  v_thread care.thread;
  v_page record;
begin
  v_caller := care.caller();
  if p_user_id is distinct from v_caller then
    return care.refusal('permission_denied', 'identity');
  end if;
  v_me := care.identify(v_caller, 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('not_found');
  end if;
  v_page := care.read_page(v_me.community_id, v_thread.id, 1, 2147483647, null, 500);
  return (
    select jsonb_build_object(
             'success', true,
             'conversation', jsonb_build_object(
               'id', t.id, 'help_request_id', t.help_request_id, 'requester_id', t.requester_id,
               'helper_id', t.helper_id, 'initial_message', f.content, 'status', v_thread.shown_status,
               'created_at', t.created_at, 'updated_at', t.updated_at),
             'messages', v_page.messages, 'has_more', v_page.has_more)
      from care.threads t
      left join care.thread_messages f
        on f.community_id = t.community_id
       and f.conversation_id = t.id
       and f.seq = 0
       and f.hidden_at is null
     where t.community_id = v_me.community_id
       and t.id = v_thread.id);
exception when others then
  if care.is_transient(sqlstate) then
    raise;
  end if;
  return care.fault('get_conversation_v2', sqlstate, sqlerrm);
end
$$;
comment on function public.get_conversation_v2(uuid, uuid) is
  'One of the caller''s conversations, of either engine, with its newest 500 follow-ups, oldest first.';

create or replace function public.get_messages(
  p_conversation_id uuid, p_before integer default null, p_after integer default null, p_limit integer default 50)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
  v_thread care.thread;
  v_page record;
begin
  v_me := care.identify(care.caller(), 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  if p_limit is null or p_limit not between 1 and 100 then
    return care.invalid('limit', 'Ask for 1 to 100 messages.');
  end if;
  if p_before is not null and p_after is not null then
    return care.invalid('after', 'Ask for messages before or after a place, not both.');
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('not_found');
  end if;
  v_page := care.read_page(v_me.community_id, v_thread.id, 0, coalesce(p_before, 2147483647), p_after, p_limit);
  return jsonb_build_object(
    'success', true,
    'conversation', care.conversations_json(v_me.community_id, v_me.user_id, array[v_thread.id]) -> 0,
    'messages', v_page.messages, 'has_more', v_page.has_more);
exception when others then
  if care.is_transient(sqlstate) then
    raise;
  end if;
  return care.fault('get_messages', sqlstate, sqlerrm);
end
$$;
comment on function public.get_messages(uuid, integer, integer, integer) is
  'A page of one of the caller''s conversations, oldest first, by seq; the first message is seq 0. p_limit 1 to 100.';

create or replace function public.mark_read(p_conversation_id uuid, p_seq integer)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.admission;
  v_key care.recollection;
  v_thread care.thread;
  v_seq integer;
  v_unread integer;
begin
  v_me := care.admit(care.caller(), 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  v_key := care.recall(v_me.community_id, v_me.user_id, 'mark', jsonb_build_array(p_conversation_id, p_seq));
  if v_key.answer is not null then
    return care.replay(v_key.answer);
  end if;
  if p_seq is null or p_seq < 0 then
    return care.invalid('seq', 'Name the last message you have read by its number.');
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;

  -- The own member row first, then the count: a message that commits in between waits for this row and adds itself.
  select greatest(m.last_read_seq, p_seq)
    into v_seq
    from public.conversation_members m
   where m.community_id = v_me.community_id
     and m.conversation_id = v_thread.id
     and m.user_id = v_me.user_id
     for no key update;
  v_seq := least(v_seq, care.last_seq(v_me.community_id, v_thread.id));
  v_unread := care.count_unread(v_me.community_id, v_thread.id, v_me.user_id, v_seq);
  update public.conversation_members m
     set last_read_seq = v_seq,
         unread = v_unread
   where m.community_id = v_me.community_id
     and m.conversation_id = v_thread.id
     and m.user_id = v_me.user_id;
  return care.remember(v_me.community_id, v_me.user_id, v_key.key, v_key.fingerprint,
    jsonb_build_object('success', true, 'last_read_seq', v_seq, 'unread', v_unread));
exception when others then
  if care.is_transient(sqlstate) then
    raise;
  end if;
  return care.fault('mark_read', sqlstate, sqlerrm);
end
$$;
comment on function public.mark_read(uuid, integer) is
  'Marks one of the caller''s conversations as read up to a seq. Never backwards, never past the last message.';

create or replace function care.last_seq(p_community_id uuid, p_conversation_id uuid)
returns integer
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select t.last_seq
      from care.threads t
     where t.community_id = p_community_id
       and t.id = p_conversation_id);
end
$$;
comment on function care.last_seq(uuid, uuid) is 'The seq of a conversation''s last message.';

create or replace function care.count_unread(
  p_community_id uuid, p_conversation_id uuid, p_user_id uuid, p_last_read_seq integer)
returns integer
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select count(*)
      from care.thread_messages m
     where m.community_id = p_community_id
       and m.conversation_id = p_conversation_id
       and m.seq > p_last_read_seq
       and m.recipient_id = p_user_id);
end
$$;
comment on function care.count_unread(uuid, uuid, uuid, integer) is 'How many messages to a person stand after the last one they read.';

create or replace function care.set_thread_status(
  p_community_id uuid, p_thread care.thread, p_status text, p_by uuid, p_reason text default null)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  if p_thread.version = 'v2' then
    update public.conversations_v2 c
       set status = p_status,
           status_by = p_by,
           decline_reason = p_reason,
           updated_at = v_now
     where c.community_id = p_community_id
       and c.id = p_thread.id;
  else
    update public.conversations c
       set status = p_status,
           status_by = p_by,
           decline_reason = p_reason,
           updated_at = v_now
     where c.community_id = p_community_id
       and c.id = p_thread.id;
  end if;
  update public.conversation_members m
     set last_activity_at = v_now
   where m.community_id = p_community_id
     and m.conversation_id = p_thread.id;
end
$$;
comment on function care.set_thread_status(uuid, care.thread, text, uuid, text) is
  'Writes the new status of a locked conversation, who set it and why, in its own engine.';

create or replace function public.close_conversation(p_conversation_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.admission;
  v_key care.recollection;
  v_thread care.thread;
begin
  v_me := care.admit(care.caller(), 'write');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  v_key := care.recall(v_me.community_id, v_me.user_id, 'close', jsonb_build_array(p_conversation_id));
  if v_key.answer is not null then
    return care.replay(v_key.answer);
  end if;
  v_thread := care.lock_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  if v_thread.shown_status <> 'active' then
    return care.refusal('conflict', 'state', jsonb_build_object('status', v_thread.shown_status));
  end if;
  perform care.set_thread_status(v_me.community_id, v_thread, 'closed', v_me.user_id);
  perform care.announce(v_me.community_id, v_me.user_id, 'conversation.closed', v_thread.help_request_id, v_thread.id);
  return care.remember(v_me.community_id, v_me.user_id, v_key.key, v_key.fingerprint,
    jsonb_build_object('success', true, 'status', 'closed'));
exception when others then
  if care.is_transient(sqlstate) then
    raise;
  end if;
  return care.fault('close_conversation', sqlstate, sqlerrm);
end
$$;
comment on function public.close_conversation(uuid) is 'Closes one of the caller''s active conversations; both can still read it.';

create or replace function public.reopen_conversation(p_conversation_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.admission;
  v_key care.recollection;
  v_thread care.thread;
begin
  v_me := care.admit(care.caller(), 'write');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  v_key := care.recall(v_me.community_id, v_me.user_id, 'reopen', jsonb_build_array(p_conversation_id));
  if v_key.answer is not null then
    return care.replay(v_key.answer);
  end if;
  v_thread := care.lock_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  if v_thread.shown_status not in ('declined', 'closed') then
    return care.refusal('conflict', 'state', jsonb_build_object('status', v_thread.shown_status));
  end if;
  -- Whoever declined or closed may reopen. Under a block nobody did, as far as either of the two can see.
  if v_thread.status_by is distinct from v_me.user_id or v_thread.status <> v_thread.shown_status
     or care.is_blocked(v_me.community_id, v_thread.requester_id, v_thread.helper_id) then
    return care.refusal('permission_denied', 'role');
  end if;
  perform care.set_thread_status(v_me.community_id, v_thread, 'active', v_me.user_id);
  perform care.announce(v_me.community_id, v_me.user_id, 'conversation.reopened', v_thread.help_request_id, v_thread.id);
  return care.remember(v_me.community_id, v_me.user_id, v_key.key, v_key.fingerprint,
    jsonb_build_object('success', true, 'status', 'active'));
exception when others then
  if care.is_transient(sqlstate) then
    raise;
  end if;
  return care.fault('reopen_conversation', sqlstate, sqlerrm);
end
$$;
comment on function public.reopen_conversation(uuid) is 'Reopens a conversation that the caller declined or closed.';
