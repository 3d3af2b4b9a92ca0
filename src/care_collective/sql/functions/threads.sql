-- Writing in one conversation, closing and reopening it. The same calls serve both engines; a conversation is written
-- where its engine keeps it, whatever the flag says.

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
  v_me care.writing;
  v_thread care.thread;
  v_refusal jsonb;
begin
  v_caller := care.caller();
  if p_sender_id is distinct from v_caller then
    return care.refusal('permission_denied', 'identity');
  end if;
  v_content := care.trim_text(p_content);
  v_me := care.begin_write(v_caller, 'write', 'send', jsonb_build_array(p_conversation_id, v_content),
    care.check_text('content', v_content, 1, 1000));
  if v_me.answer is not null then
    return v_me.answer;
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

  return care.remember(v_me, care.append_message(v_me, v_thread, v_content));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('send_message_v2', sqlstate, sqlerrm);
end
$$;
comment on function public.send_message_v2(uuid, uuid, text) is
  'Writes a message (1 to 1000 characters) into one of the caller''s conversations, of either engine.';

create or replace function care.append_message(p_me care.writing, p_thread care.thread, p_content text)
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
         -- News bring back what was put away.
         archived_at = case when m.user_id <> v_other then m.archived_at end,
         last_activity_at = v_now
   where m.community_id = p_me.community_id
     and m.conversation_id = p_thread.id;
  perform care.announce(p_me.community_id, p_me.user_id, 'message.sent', p_thread.help_request_id, p_thread.id, v_seq);
  perform care.notify(
    p_me.community_id, v_other, 'message.received', p_me.user_id, p_thread.help_request_id, p_thread.id);
  perform care.count_use(p_me.community_id, p_me.user_id, 'messages');
  if p_me.restriction = 'limited' then
    perform care.count_use(p_me.community_id, p_me.user_id, 'messages_limited');
  end if;
  return jsonb_build_object('success', true, 'message_id', v_id, 'seq', v_seq, 'message', 'Sent.');
end
$$;
comment on function care.append_message(care.writing, care.thread, text) is
  'Writes the next message of a locked conversation, in its own engine, with both inboxes and the event.';

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
  perform care.write_thread_status(p_community_id, p_thread, p_status, p_by, p_reason, v_now);
  update public.conversation_members m
     set last_activity_at = v_now,
         archived_at = case when m.user_id = p_by then m.archived_at end
   where m.community_id = p_community_id
     and m.conversation_id = p_thread.id;
end
$$;
comment on function care.set_thread_status(uuid, care.thread, text, uuid, text) is
  'Gives a locked conversation a new status, with who set it and why, and brings it up in both inboxes.';

create or replace function care.write_thread_status(
  p_community_id uuid, p_thread care.thread, p_status text, p_by uuid, p_reason text, p_now timestamptz)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  if p_thread.version = 'v2' then
    update public.conversations_v2 c
       set status = p_status,
           status_by = p_by,
           decline_reason = p_reason,
           updated_at = p_now
     where c.community_id = p_community_id
       and c.id = p_thread.id;
  else
    update public.conversations c
       set status = p_status,
           status_by = p_by,
           decline_reason = p_reason,
           updated_at = p_now
     where c.community_id = p_community_id
       and c.id = p_thread.id;
  end if;
end
$$;
comment on function care.write_thread_status(uuid, care.thread, text, uuid, text, timestamptz) is
  'Writes the new status of a locked conversation, who set it and why, in its own engine.';

create or replace function care.end_reopened(p_me care.writing, p_thread care.thread)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_due_at timestamptz := v_now + interval '1 minute';
  v_other uuid := case when p_thread.helper_id = p_me.user_id then p_thread.requester_id else p_thread.helper_id end;
begin
  -- The other one's own view stays as it is: under their block nothing reaches them.
  perform care.write_thread_status(p_me.community_id, p_thread, 'closed', v_other, null, v_now);
  update public.conversation_members m
     set last_activity_at = v_now,
         archived_at = null
   where m.community_id = p_me.community_id
     and m.conversation_id = p_thread.id
     and m.user_id = p_me.user_id;
  perform care.announce(p_me.community_id, v_other, 'conversation.closed', p_thread.help_request_id, p_thread.id);
  -- As care.notify writes it where there is no block: that it came from nobody would tell.
  insert into public.notifications
    (community_id, user_id, kind, actor_id, help_request_id, conversation_id, created_at, updated_at, due_at)
  values (p_me.community_id, p_me.user_id, 'conversation.closed', v_other, p_thread.help_request_id, p_thread.id,
          v_now, v_now, v_due_at);
end
$$;
comment on function care.end_reopened(care.writing, care.thread) is
  'What becomes of a conversation that the caller opens again under the other''s block: the other has ended it, once and for all.';

create or replace function public.close_conversation(p_conversation_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_thread care.thread;
begin
  v_me := care.begin_write(care.caller(), 'write', 'close', jsonb_build_array(p_conversation_id));
  if v_me.answer is not null then
    return v_me.answer;
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
  perform care.notify_other(v_me, v_thread, 'conversation.closed');
  return care.remember(v_me,
    jsonb_build_object('success', true, 'status', 'closed'));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
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
  v_me care.writing;
  v_thread care.thread;
  v_other uuid;
begin
  v_me := care.begin_write(care.caller(), 'write', 'reopen', jsonb_build_array(p_conversation_id));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_thread := care.lock_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;
  if v_thread.shown_status not in ('declined', 'closed') then
    return care.refusal('conflict', 'state', jsonb_build_object('status', v_thread.shown_status));
  end if;
  v_other := case when v_thread.helper_id = v_me.user_id then v_thread.requester_id else v_thread.helper_id end;
  -- Whoever declined or closed may reopen, but not while they block the other one.
  if v_thread.status_by is distinct from v_me.user_id or v_thread.status <> v_thread.shown_status
     or care.has_blocked(v_me.community_id, v_me.user_id, v_other) then
    return care.refusal('permission_denied', 'role');
  end if;
  if care.has_blocked(v_me.community_id, v_other, v_me.user_id) then
    -- A refusal would disclose the block: before it, this was theirs to open.
    perform care.end_reopened(v_me, v_thread);
  else
    perform care.set_thread_status(v_me.community_id, v_thread, 'active', v_me.user_id);
    perform care.announce(
      v_me.community_id, v_me.user_id, 'conversation.reopened', v_thread.help_request_id, v_thread.id);
    perform care.notify_other(v_me, v_thread, 'conversation.reopened');
  end if;
  return care.remember(v_me,
    jsonb_build_object('success', true, 'status', 'active'));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('reopen_conversation', sqlstate, sqlerrm);
end
$$;
comment on function public.reopen_conversation(uuid) is 'Reopens a conversation that the caller declined or closed.';
