-- A person's own data, whole, for themselves: also where they are banned (product.md, the table of restrictions).

create or replace function public.export_my_data(p_cursor text default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_me care.writing;
  v_from record;
  v_refusal jsonb;
  v_page record;
begin
  v_from := care.read_place(p_cursor);
  -- It only reads, and no key makes it do more. The lock is the limit's: nothing else that a member asks for is as dear
  -- as a page of this, so that theirs come one after another and not without end.
  v_me := care.begin_write(care.caller(), 'own', p_invalid => v_from.refusal);
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_refusal := care.over_limit(v_me.community_id, v_me.user_id, 'exports');
  if v_refusal is not null then
    return v_refusal;
  end if;
  perform care.count_use(v_me.community_id, v_me.user_id, 'exports');
  v_page := care.export_messages(v_me.community_id, v_me.user_id, v_from.conversation_id, v_from.seq);
  return jsonb_build_object('success', true, 'messages', v_page.messages, 'next_cursor', v_page.next_cursor)
      || case when p_cursor is null then
           care.export_account(v_me.community_id, v_me.user_id) || care.export_doings(v_me.community_id, v_me.user_id)
         else '{}' end;
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('export_my_data', sqlstate, sqlerrm);
end
$$;
comment on function public.export_my_data(text) is
  'Everything the caller gave or that is about them in the community; messages of both engines 2000 at a time, further ones by next_cursor. The first page has all the rest. 100 pages an hour.';

create or replace function care.read_place(p_cursor text, out conversation_id uuid, out seq integer, out refusal jsonb)
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  if p_cursor is null then
    return;
  end if;
  if p_cursor !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.[0-9]{1,9}$' then
    refusal := care.invalid('cursor', 'This is not a cursor of ours. Start again without one.');
    return;
  end if;
  conversation_id := split_part(p_cursor, '.', 1)::uuid;
  seq := split_part(p_cursor, '.', 2)::integer;
end
$$;
comment on function care.read_place(text) is 'The last message an export has given, by conversation and seq; a refusal for a foreign cursor.';

create or replace function care.export_messages(
  p_community_id uuid, p_user_id uuid, p_conversation_id uuid, p_seq integer, out messages jsonb, out next_cursor text)
stable
set search_path = pg_catalog, pg_temp
-- As conversations_json: a look-up by key for each conversation, whatever the planner knows of the tables.
set enable_hashjoin = off
set enable_mergejoin = off
language plpgsql
as $$
declare
  v_page constant integer := 2000;
  v_last record;
begin
  -- last_seq says how many messages a thread has, so that a page is cut before a message is read.
  with threads as (
    select t.id, t.last_seq, case when t.id = p_conversation_id then p_seq + 1 else 0 end as first
      from public.conversation_members m
      join care.threads t
        on t.community_id = p_community_id
       and t.id = m.conversation_id
     where m.community_id = p_community_id
       and m.user_id = p_user_id
       and (p_conversation_id is null or m.conversation_id >= p_conversation_id)
       -- A first message that waits for review does not exist for its requester.
       and (t.helper_id = p_user_id or t.status <> 'held')
  ), placed as (
    select t.id, t.last_seq, t.first,
           sum(t.last_seq - t.first + 1) over (order by t.id) - (t.last_seq - t.first + 1) as before
      from threads t
     where t.last_seq >= t.first
  ), cut as (
    select p.id, p.last_seq, p.first, least(p.last_seq, p.first + v_page - p.before - 1)::integer as last
      from placed p
     where p.before < v_page
  ), shown as (
    select jsonb_agg(jsonb_build_object('conversation_id', c.id) || to_jsonb(s.message) order by c.id, s.seq) as found
      from cut c
      join care.shown_messages s
        on s.community_id = p_community_id
       and s.conversation_id = c.id
       and s.seq between c.first and c.last
  )
  select s.found, e.id, e.last, e.last < e.last_seq
         or exists (select 1 from placed p where p.before >= v_page) as more
    into v_last
    from shown s
    left join lateral (select c.id, c.last, c.last_seq from cut c order by c.id desc limit 1) e on true;
  messages := coalesce(v_last.found, '[]');
  next_cursor := case when v_last.more then v_last.id || '.' || v_last.last end;
end
$$;
comment on function care.export_messages(uuid, uuid, uuid, integer) is
  'Up to 2000 messages of a member''s conversations, by conversation and seq, after the one named.';

create or replace function care.export_account(p_community_id uuid, p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  -- Ours, not theirs, and which coordinator it was.
  v_hidden constant text[] := array['community_id', 'user_id', 'decided_by', 'created_by', 'lifted_by'];
begin
  return jsonb_build_object(
    'exported_at', v_now,
    'community', care.get_community(p_community_id),
    'account', (
      select jsonb_build_object('user_id', u.id, 'email', u.email, 'created_at', u.created_at,
               'password_since', (select c.updated_at from care.credentials c where c.user_id = u.id),
               'operator_since', (select o.created_at from care.operators o where o.user_id = u.id),
               'cohorts', (select coalesce(jsonb_agg(c.flag order by c.flag), '[]')
                             from care.rollout_cohort c
                            where c.user_id = u.id))
        from care.users u
       where u.id = p_user_id),
    'profile', (
      select to_jsonb(p) - v_hidden
        from public.profiles p
       where p.community_id = p_community_id
         and p.user_id = p_user_id),
    'sessions', (
      select coalesce(jsonb_agg(jsonb_build_object('created_at', s.created_at, 'expires_at', s.expires_at)
                                order by s.created_at), '[]')
        from care.sessions s
       where s.community_id = p_community_id
         and s.user_id = p_user_id),
    -- Where the browsers are; their keys would let whoever finds the file write to them.
    'push_subscriptions', (
      select coalesce(jsonb_agg(jsonb_build_object('endpoint', s.endpoint, 'created_at', s.created_at,
                                  'last_ok_at', s.last_ok_at) order by s.created_at), '[]')
        from care.push_subscriptions s
       where s.community_id = p_community_id
         and s.user_id = p_user_id),
    'preferences', (
      select to_jsonb(p) - v_hidden
        from public.messaging_preferences p
       where p.community_id = p_community_id
         and p.user_id = p_user_id),
    'restrictions', (
      select coalesce(jsonb_agg(to_jsonb(r) - v_hidden order by r.created_at), '[]')
        from public.user_restrictions r
       where r.community_id = p_community_id
         and r.user_id = p_user_id),
    'blocks', (
      select coalesce(jsonb_agg(jsonb_build_object('user_id', b.blocked_id, 'display_name', p.display_name,
                                  'created_at', b.created_at) order by b.created_at), '[]')
        from public.user_blocks b
        join public.profiles p
          on p.community_id = b.community_id
         and p.user_id = b.blocked_id
       where b.community_id = p_community_id
         and b.blocker_id = p_user_id));
end
$$;
comment on function care.export_account(uuid, uuid) is
  'Who a member is: account, profile, sessions, browsers with notices, preferences, restrictions, and whom they blocked.';

create or replace function care.export_doings(p_community_id uuid, p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_hidden constant text[] := array['community_id', 'user_id'];
  v_ids uuid[] := array(
    select m.conversation_id
      from public.conversation_members m
      join care.threads t
        on t.community_id = m.community_id
       and t.id = m.conversation_id
     where m.community_id = p_community_id
       and m.user_id = p_user_id
       and (t.helper_id = p_user_id or t.status <> 'held')
     order by m.conversation_id);
begin
  return jsonb_build_object(
    'help_requests', (
      select coalesce(jsonb_agg(to_jsonb(r) - v_hidden order by r.created_at, r.id), '[]')
        from public.help_requests r
       where r.community_id = p_community_id
         and r.user_id = p_user_id),
    'conversations', care.conversations_json(p_community_id, p_user_id, v_ids),
    'marks', (
      select coalesce(jsonb_agg(to_jsonb(m) - v_hidden order by m.conversation_id), '[]')
        from public.conversation_members m
       where m.community_id = p_community_id
         and m.user_id = p_user_id
         and m.conversation_id = any (v_ids)),
    'notifications', (
      select coalesce(jsonb_agg(to_jsonb(n) - v_hidden - 'delivery_id' order by n.created_at), '[]')
        from public.notifications n
       where n.community_id = p_community_id
         and n.user_id = p_user_id),
    'letters', (
      select coalesce(jsonb_agg(jsonb_build_object('channel', d.channel, 'kind', d.kind, 'created_at', d.created_at,
                                  'sent_at', d.sent_at) order by d.created_at), '[]')
        from care.deliveries d
       where d.community_id = p_community_id
         and d.user_id = p_user_id),
    'problem_reports', (
      select coalesce(jsonb_agg(to_jsonb(r) - v_hidden order by r.created_at), '[]')
        from care.problem_reports r
       where r.community_id = p_community_id
         and r.user_id = p_user_id),
    'limits', (
      select coalesce(jsonb_agg(to_jsonb(r) - v_hidden order by r.kind), '[]')
        from care.rate_counters r
       where r.community_id = p_community_id
         and r.user_id = p_user_id),
    'attempts', (
      select coalesce(jsonb_agg(jsonb_build_object('help_request_id', o.help_request_id, 'opened_at', o.opened_at,
                                  'success', o.success, 'code', o.code) order by o.opened_at), '[]')
        from care.engine_outcomes o
       where o.community_id = p_community_id
         and o.user_id = p_user_id),
    'operated', (
      select coalesce(jsonb_agg(jsonb_build_object('at', l.at, 'action', l.action, 'subject', l.subject,
                                  'allowed', l.allowed) order by l.at), '[]')
        from care.audit_log l
       where l.actor_id = p_user_id
         -- What was done in another community is in the export there.
         and coalesce(l.details ->> 'community_id', p_community_id::text) = p_community_id::text));
end
$$;
comment on function care.export_doings(uuid, uuid) is
  'What a member did: requests, conversations without their messages, marks, what they were told, problems, limits used, attempts to open a conversation, and what they did as an operator.';
