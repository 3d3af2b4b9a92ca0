-- The inbox: both engines in one list, each person's own view, by last activity (rule 14).

create or replace function care.conversations_json(p_community_id uuid, p_user_id uuid, p_ids uuid[])
returns jsonb
stable
set search_path = pg_catalog, pg_temp
-- The joins in the order they stand, each a look-up by a key for each row, whatever the planner knows of a young table
-- or of the usual member: a hash join once read the whole inbox of who has many conversations.
set join_collapse_limit = 1
set enable_hashjoin = off
set enable_mergejoin = off
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  return (
    select coalesce(jsonb_agg(
             jsonb_build_object(
               'id', t.id, 'version', t.version,
               'role', case when t.helper_id = p_user_id then 'helper' else 'requester' end,
               'help_request', jsonb_build_object('id', r.id, 'title', r.title, 'status', r.status,
                 'accepted', coalesce(r.helper_id = t.helper_id, false)),
               'other', jsonb_build_object('user_id', p.user_id, 'display_name', p.display_name, 'town', p.town,
                 'deleted', p.deleted_at is not null),
               'status', case when (b.by_me or b.by_other) and t.status = 'active' then 'closed' else t.status end,
               -- As reopen_conversation judges: whom a block is done to keeps what was theirs to open.
               'may_reopen', coalesce(t.status_by = p_user_id, false) and t.status in ('declined', 'closed')
                 and not b.by_me,
               -- Who has blocked knows it; whom it was done to learns it from nothing.
               'blocked_by_me', b.by_me,
               'decline_reason', t.decline_reason,
               'last_message', l.message,
               'last_seq', t.last_seq,
               'last_read_seq', m.last_read_seq,
               'other_last_read_seq', o.last_read_seq,
               'unread', m.unread,
               'muted_until', case when m.muted_until > v_now then m.muted_until end,
               'archived', m.archived_at is not null,
               'last_activity_at', m.last_activity_at,
               'created_at', t.created_at)
             order by i.place), '[]')
      from unnest(p_ids) with ordinality as i (id, place)
      join public.conversation_members m
        on m.community_id = p_community_id
       and m.conversation_id = i.id
       and m.user_id = p_user_id
      join care.threads t
        on t.community_id = p_community_id
       and t.id = i.id
      join public.help_requests r
        on r.community_id = p_community_id
       and r.id = t.help_request_id
      join public.profiles p
        on p.community_id = p_community_id
       and p.user_id = case when t.helper_id = p_user_id then t.requester_id else t.helper_id end
      join public.conversation_members o
        on o.community_id = p_community_id
       and o.conversation_id = i.id
       and o.user_id = p.user_id
      join care.shown_messages l
        on l.community_id = p_community_id
       and l.conversation_id = i.id
       and l.seq = t.last_seq
     cross join lateral (
       -- The rule of care.is_blocked, and above that of care.shown_status: two calls a row were a fifth of the page.
       select exists (
                select 1
                  from public.user_blocks u
                 where u.community_id = p_community_id
                   and u.blocker_id = p_user_id
                   and u.blocked_id = p.user_id) as by_me,
              exists (
                select 1
                  from public.user_blocks u
                 where u.community_id = p_community_id
                   and u.blocker_id = p.user_id
                   and u.blocked_id = p_user_id) as by_other
       offset 0
     ) b);
end
$$;
comment on function care.conversations_json(uuid, uuid, uuid[]) is
  'The one serializer of conversations, in the order of their ids, as one of their two people sees them.';

create or replace function care.read_cursor(p_cursor text, out at timestamptz, out id uuid, out refusal jsonb)
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  at := 'infinity';
  id := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  if p_cursor is null then
    return;
  end if;
  -- Microseconds since 1970 and an id, as write_cursor makes it; anything else was not made here.
  if p_cursor !~ '^[0-9]{1,16}\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    refusal := care.invalid('cursor', 'This is not a cursor of ours. Start again without one.');
    return;
  end if;
  at := timestamptz '1970-01-01 00:00:00+00' + split_part(p_cursor, '.', 1)::bigint * interval '1 microsecond';
  id := split_part(p_cursor, '.', 2)::uuid;
end
$$;
comment on function care.read_cursor(text) is 'The place a cursor names; the end of time where there is none; a refusal for a foreign one.';

create or replace function care.write_cursor(p_at timestamptz, p_id uuid)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (extract(epoch from p_at) * 1000000)::bigint || '.' || p_id;
end
$$;
comment on function care.write_cursor(timestamptz, uuid) is 'A place in a list by time and id, as text to be given back.';

create or replace function care.check_page(p_limit integer, p_filter text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return case
    when p_limit is null or p_limit not between 1 and 50 then
      care.invalid('limit', 'Ask for 1 to 50 conversations.')
    when p_filter is null or p_filter not in ('all', 'unread', 'archived') then
      care.invalid('filter', 'Choose all, unread or archived.')
  end;
end
$$;
comment on function care.check_page(integer, text) is 'The refusal of a page of conversations that there is not, or null.';

create or replace function care.conversation_page(
  p_community_id uuid, p_user_id uuid, p_cursor text, p_limit integer, p_filter text, p_help_request_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_from record := care.read_cursor(p_cursor);
  v_refusal jsonb := coalesce(v_from.refusal, care.check_page(p_limit, p_filter));
  v_ids uuid[];
  v_times timestamptz[];
  v_more boolean;
begin
  if v_refusal is not null then
    return v_refusal;
  end if;
  if p_help_request_id is null then
    select array_agg(s.conversation_id), array_agg(s.last_activity_at)
      into v_ids, v_times
      from (
        select m.conversation_id, m.last_activity_at
          from public.conversation_members m
          join care.threads t
            on t.community_id = m.community_id
           and t.id = m.conversation_id
         where m.community_id = p_community_id
           and m.user_id = p_user_id
           and (m.last_activity_at, m.conversation_id) < (v_from.at, v_from.id)
           -- What is unread is never put out of sight: unread ones are listed wherever they were put.
           and case p_filter
                 when 'all' then m.archived_at is null
                 when 'unread' then m.unread > 0
                 else m.archived_at is not null
               end
           and (t.status <> 'held' or t.helper_id = p_user_id)
         order by m.last_activity_at desc, m.conversation_id desc
         limit p_limit + 1
      ) s;
  else
    -- From the request's few offers, not from the owner's whole inbox.
    select array_agg(s.conversation_id), array_agg(s.last_activity_at)
      into v_ids, v_times
      from (
        select m.conversation_id, m.last_activity_at
          from care.threads t
          join public.conversation_members m
            on m.community_id = p_community_id
           and m.conversation_id = t.id
           and m.user_id = p_user_id
         where t.community_id = p_community_id
           and t.help_request_id = p_help_request_id
           and t.requester_id = p_user_id
           and t.status <> 'held'
           and (m.last_activity_at, m.conversation_id) < (v_from.at, v_from.id)
         order by m.last_activity_at desc, m.conversation_id desc
         limit p_limit + 1
      ) s;
  end if;
  v_more := coalesce(cardinality(v_ids), 0) > p_limit;
  return jsonb_build_object(
    'success', true,
    'conversations', care.conversations_json(p_community_id, p_user_id, v_ids[:p_limit]),
    'next_cursor', case when v_more then care.write_cursor(v_times[p_limit], v_ids[p_limit]) end);
end
$$;
comment on function care.conversation_page(uuid, uuid, text, integer, text, uuid) is
  'A page of a member''s conversations, newest activity first; of one own request where it is named.';

create or replace function public.list_conversations(
  p_cursor text default null, p_limit integer default 20, p_filter text default 'all', p_search text default null)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
  v_patterns text[];
begin
  v_me := care.identify(care.caller(), 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  if char_length(care.trim_text(p_search)) > 100 then
    return care.invalid('search', 'Please search for 100 characters at most.');
  end if;
  v_patterns := care.search_patterns(p_search);
  if v_patterns = '{}' then
    return care.conversation_page(v_me.community_id, v_me.user_id, p_cursor, p_limit, p_filter, null);
  end if;
  return care.found_page(v_me.community_id, v_me.user_id, p_cursor, p_limit, p_filter, v_patterns);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('list_conversations', sqlstate, sqlerrm);
end
$$;
comment on function public.list_conversations(text, integer, text, text) is
  'The caller''s conversations of both engines, by last activity. p_limit 1 to 50; p_filter all (without the archived ones), unread or archived; p_search, to 100 characters: words of the other''s name and the title, or of one message.';

create or replace function public.list_offers(
  p_help_request_id uuid, p_cursor text default null, p_limit integer default 20)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
  v_owner uuid;
begin
  v_me := care.identify(care.caller(), 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  select r.user_id
    into v_owner
    from public.help_requests r
   where r.community_id = v_me.community_id
     and r.id = p_help_request_id;
  -- Who offered is the owner's alone; for everybody else there is nothing here.
  if v_owner is distinct from v_me.user_id then
    return care.refusal('not_found');
  end if;
  return care.conversation_page(v_me.community_id, v_me.user_id, p_cursor, p_limit, 'all', p_help_request_id);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('list_offers', sqlstate, sqlerrm);
end
$$;
comment on function public.list_offers(uuid, text, integer) is 'The offers on one of the caller''s own requests, of both engines.';
