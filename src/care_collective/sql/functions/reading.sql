-- Reading a conversation, by pages, and marking what has been read. The same calls serve both engines, whatever the
-- flag says.

create or replace function care.read_page(
  p_community_id uuid, p_conversation_id uuid, p_first integer, p_before integer, p_after integer, p_limit integer,
  out messages jsonb, out has_more boolean)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_page care.message[];
begin
  -- One row more than asked for tells whether there is more. Keyset on seq, never on time (rule 10).
  if p_after is not null then
    v_page := array(
      select m.message
        from care.shown_messages m
       where m.community_id = p_community_id
         and m.conversation_id = p_conversation_id
         and m.seq > p_after
         and m.seq >= p_first
       order by m.seq
       limit p_limit + 1);
  else
    v_page := array(
      select m.message
        from care.shown_messages m
       where m.community_id = p_community_id
         and m.conversation_id = p_conversation_id
         and m.seq < p_before
         and m.seq >= p_first
       order by m.seq desc
       limit p_limit + 1);
  end if;
  has_more := cardinality(v_page) > p_limit;
  select coalesce(jsonb_agg(m order by m.seq), '[]')
    into messages
    from unnest(v_page[:p_limit]) as m;
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
  if care.is_transient(sqlstate) then raise; end if;
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
  if care.is_transient(sqlstate) then raise; end if;
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
  v_me care.writing;
  v_thread care.thread;
  v_before integer;
  v_seq integer;
  v_unread integer;
  v_told integer;
begin
  v_me := care.begin_write(care.caller(), 'read', 'mark', jsonb_build_array(p_conversation_id, p_seq),
    case when p_seq is null or p_seq < 0 then care.invalid('seq', 'Name the last message you have read by its number.') end);
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
  if v_thread.id is null then
    return care.refusal('permission_denied', 'not_participant');
  end if;

  -- The own member row first, then the count: a message that commits in between waits for this row and adds itself.
  select m.last_read_seq, greatest(m.last_read_seq, p_seq)
    into v_before, v_seq
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
  v_told := care.read_notifications(v_me.community_id, v_me.user_id, v_thread.id, v_unread);
  -- The caller's own other pages show the count of either.
  if v_seq > v_before or v_told > 0 then
    perform care.announce(v_me.community_id, v_me.user_id, 'conversation.read', v_thread.help_request_id, v_thread.id,
      v_seq);
  end if;
  return care.remember(v_me,
    jsonb_build_object('success', true, 'last_read_seq', v_seq, 'unread', v_unread));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('mark_read', sqlstate, sqlerrm);
end
$$;
comment on function public.mark_read(uuid, integer) is
  'Marks one of the caller''s conversations as read up to a seq, and what they were told of it. Never backwards, never past the last message.';

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
