-- Moving V1's conversations whole into V2, and the proof of it. The command line's alone, with the owner's rights. The
-- locks are rule 11's, so that members go on meanwhile.

create or replace function care.lock_legacy(p_community_id uuid, p_conversation_id uuid)
returns public.conversations
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_found public.conversations;
begin
  -- Read without a lock only to know what to lock: people and request of a conversation never change.
  select c.*
    into v_found
    from public.conversations c
   where c.community_id = p_community_id
     and c.id = p_conversation_id;
  perform 1
     from public.profiles p
    where p.community_id = p_community_id
      and p.user_id in (v_found.created_by, v_found.requester_id)
    order by p.user_id
      for no key update;
  perform 1
     from public.help_requests r
    where r.community_id = p_community_id
      and r.id = v_found.help_request_id
      for no key update;
  select c.*
    into v_found
    from public.conversations c
   where c.community_id = p_community_id
     and c.id = p_conversation_id
     for no key update;
  perform 1
     from public.conversation_members m
    where m.community_id = p_community_id
      and m.conversation_id = p_conversation_id
    order by m.user_id
      for no key update;
  return v_found;
end
$$;
comment on function care.lock_legacy(uuid, uuid) is
  'A V1 conversation, locked with its two people, its request and both member rows; a row of nulls where V1 has none.';

create or replace function care.thread_digest(p_community_id uuid, p_conversation_id uuid, p_last_seq integer)
returns bytea
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- What nobody may change: not whether it is hidden. Seconds since 1970, since a time's text depends on the session.
  return (
    select sha256(convert_to(coalesce(string_agg(jsonb_build_array(
             m.seq, m.id, m.sender_id, m.recipient_id, m.content, extract(epoch from m.created_at))::text,
             E'\n' order by m.seq), ''), 'UTF8'))
      from care.thread_messages m
     where m.community_id = p_community_id
       and m.conversation_id = p_conversation_id
       and m.seq <= p_last_seq);
end
$$;
comment on function care.thread_digest(uuid, uuid, integer) is
  'The SHA-256 of a conversation''s messages up to a seq: ids, people, words and times in their order.';

create or replace function care.thread_image(p_community_id uuid, p_conversation_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Without what a move changes by its purpose: the engine, and the column that V2's first message has of its own.
  return jsonb_build_object(
    'thread', (
      select to_jsonb(t) - 'version' - 'initial_message' - 'hidden_at'
        from care.threads t
       where t.community_id = p_community_id
         and t.id = p_conversation_id),
    'messages', (
      select jsonb_agg(to_jsonb(m) - 'hidden_at' || jsonb_build_object('hidden', m.hidden_at is not null) order by m.seq)
        from care.thread_messages m
       where m.community_id = p_community_id
         and m.conversation_id = p_conversation_id),
    'members', (
      select jsonb_agg(to_jsonb(m) - 'version' order by m.user_id)
        from public.conversation_members m
       where m.community_id = p_community_id
         and m.conversation_id = p_conversation_id));
end
$$;
comment on function care.thread_image(uuid, uuid) is
  'A conversation of either engine with all its messages and both inbox rows, as it must be before and after a move.';

create or replace function care.legacy_obstacle(p_community_id uuid, p_conversation_id uuid)
returns text
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_thread public.conversations;
  v_first public.messages;
begin
  select c.*
    into v_thread
    from public.conversations c
   where c.community_id = p_community_id
     and c.id = p_conversation_id;
  select m.*
    into v_first
    from public.messages m
   where m.community_id = p_community_id
     and m.conversation_id = p_conversation_id
     and m.seq = 0;
  return case
    when v_thread.id is null then 'not_in_v1'
    when v_thread.last_seq < 0 then 'orphan'
    when v_first.id is null then 'sequence_gap'
    when v_first.sender_id <> v_thread.created_by or v_first.recipient_id <> v_thread.requester_id then 'foreign_message'
    -- What V2's own columns do not hold.
    when not care.is_text(v_first.content, 10, 1000) then 'first_message_short'
    when v_thread.hidden_at is not null and v_first.hidden_at is null then 'hidden'
    when exists (
      select 1
        from public.conversations_v2 o
       where o.community_id = p_community_id
         and o.help_request_id = v_thread.help_request_id
         and o.helper_id = v_thread.created_by) then 'double_pair'
  end;
end
$$;
comment on function care.legacy_obstacle(uuid, uuid) is
  'Why a conversation cannot be moved from V1 to V2, as one word, or null where nothing is seen against it.';

create or replace function care.legacy_copy(p_thread public.conversations, p_actor text)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_digest bytea := care.thread_digest(p_thread.community_id, p_thread.id, p_thread.last_seq);
  v_people jsonb;
begin
  insert into public.conversations_v2
    (community_id, id, help_request_id, requester_id, helper_id, initial_message, status, status_by, decline_reason,
     last_seq, created_at, updated_at, hidden_at, initial_message_id, initial_message_at, initial_message_updated_at)
  select p_thread.community_id, p_thread.id, p_thread.help_request_id, p_thread.requester_id, p_thread.created_by,
         m.content, p_thread.status, p_thread.status_by, p_thread.decline_reason, p_thread.last_seq,
         p_thread.created_at, p_thread.updated_at, coalesce(p_thread.hidden_at, m.hidden_at), m.id, m.created_at,
         m.updated_at
    from public.messages m
   where m.community_id = p_thread.community_id
     and m.conversation_id = p_thread.id
     and m.seq = 0;
  insert into public.messages_v2
    (community_id, id, conversation_id, seq, sender_id, recipient_id, content, created_at, updated_at, hidden_at)
  select m.community_id, m.id, m.conversation_id, m.seq, m.sender_id, m.recipient_id, m.content, m.created_at,
         m.updated_at, m.hidden_at
    from public.messages m
   where m.community_id = p_thread.community_id
     and m.conversation_id = p_thread.id
     and m.seq > 0;
  select coalesce(jsonb_agg(to_jsonb(p) - 'community_id' - 'conversation_id' order by p.user_id), '[]')
    into v_people
    from public.conversation_participants p
   where p.community_id = p_thread.community_id
     and p.conversation_id = p_thread.id;
  insert into care.legacy_moves
    (community_id, conversation_id, opened_at, moved_at, moved_by, last_seq, digest, participants)
  values (p_thread.community_id, p_thread.id, p_thread.created_at, v_now, p_actor, p_thread.last_seq, v_digest, v_people);
  update public.conversation_members m
     set version = 'v2'
   where m.community_id = p_thread.community_id
     and m.conversation_id = p_thread.id;
end
$$;
comment on function care.legacy_copy(public.conversations, text) is
  'Writes a locked V1 conversation into V2''s tables, under its own ids and times, and the row that remembers it.';

create or replace function care.legacy_clear(p_community_id uuid, p_conversation_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  delete from public.messages m
   where m.community_id = p_community_id
     and m.conversation_id = p_conversation_id;
  delete from public.conversation_participants p
   where p.community_id = p_community_id
     and p.conversation_id = p_conversation_id;
  delete from public.conversations c
   where c.community_id = p_community_id
     and c.id = p_conversation_id;
end
$$;
comment on function care.legacy_clear(uuid, uuid) is
  'Takes out of V1 what stands in V2 since this transaction: a conversation is in one engine, and its words are kept once.';

create or replace function care.legacy_move(p_community_id uuid, p_conversation_id uuid, p_actor text)
returns text
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_thread public.conversations := care.lock_legacy(p_community_id, p_conversation_id);
  v_why text := care.legacy_obstacle(p_community_id, p_conversation_id);
  v_before jsonb;
begin
  if v_why is not null then
    return v_why;
  end if;
  v_before := care.thread_image(p_community_id, p_conversation_id);
  perform care.legacy_copy(v_thread, p_actor);
  perform care.legacy_clear(p_community_id, p_conversation_id);
  -- A violation must not come with it: the guard would roll V2 back for it.
  v_why := case
    when care.thread_image(p_community_id, p_conversation_id) is distinct from v_before then 'reads_differently'
    else (select min(v.kind) from care.violations_among(array[p_community_id], array[p_conversation_id]) v) end;
  if v_why is not null then
    raise exception 'not moved' using errcode = 'CC001';
  end if;
  return null;
exception when sqlstate 'CC001' then
  -- The variable outlives what is rolled back here, which is everything since the locks.
  return v_why;
end
$$;
comment on function care.legacy_move(uuid, uuid, text) is
  'Moves one conversation whole from V1 to V2, or nothing of it: null when it is moved, else why it stays. What its people can read is compared before it counts.';

create or replace function care.legacy_batch(p_community_id uuid, p_after uuid, p_limit integer)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_array(s.community_id, s.id) order by s.community_id, s.id), '[]')
      from (
        select c.community_id, c.id
          from public.conversations c
         where (c.community_id, c.id) > (p_community_id, p_after)
           and c.last_seq >= 0
         order by c.community_id, c.id
         limit p_limit) s);
end
$$;
comment on function care.legacy_batch(uuid, uuid, integer) is
  'The next V1 conversations after one, by community and id: pairs of both. Orphans are not among them.';

create or replace function care.legacy_find(p_conversation_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select jsonb_build_object('community_id', f.community_id, 'moved', f.moved)
      from (
        select c.community_id, false as moved
          from public.conversations c
         where c.id = p_conversation_id
         union all
        select m.community_id, true
          from care.legacy_moves m
         where m.conversation_id = p_conversation_id) f
     limit 1);
end
$$;
comment on function care.legacy_find(uuid) is
  'The community of a conversation that is in V1 or was moved from there, and which of the two; null for any other.';

create or replace function care.legacy_verify(p_community_id uuid, p_after uuid, p_limit integer)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'community_id', s.community_id, 'conversation_id', s.conversation_id, 'messages', s.last_seq + 1,
             'wrong', case
               when s.version is distinct from 'v2' then 'missing'
               when s.left_behind then 'double'
               when s.messages <> s.last_seq + 1 or s.now_last < s.last_seq then 'count'
               when care.thread_digest(s.community_id, s.conversation_id, s.last_seq) <> s.digest then 'content'
               when s.members <> 2 then 'members'
             end) order by s.community_id, s.conversation_id), '[]')
      from (
        select l.community_id, l.conversation_id, l.last_seq, l.digest, t.version, t.last_seq as now_last,
               exists (
                 select 1
                   from public.conversations c
                  where c.community_id = l.community_id
                    and c.id = l.conversation_id) as left_behind,
               (select count(distinct m.seq)
                  from care.thread_messages m
                 where m.community_id = l.community_id
                   and m.conversation_id = l.conversation_id
                   and m.seq between 0 and l.last_seq) as messages,
               (select count(*)
                  from public.conversation_members b
                 where b.community_id = l.community_id
                   and b.conversation_id = l.conversation_id
                   and b.version = 'v2') as members
          from care.legacy_moves l
          left join care.threads t
            on t.community_id = l.community_id
           and t.id = l.conversation_id
         where (l.community_id, l.conversation_id) > (p_community_id, p_after)
         order by l.community_id, l.conversation_id
         limit p_limit) s);
end
$$;
comment on function care.legacy_verify(uuid, uuid, integer) is
  'The next moved conversations after one, each with how many messages were moved and what is wrong with them: missing, double, count, content, members or null.';
