-- Live streams: hints that something has changed, and what a stream shows when it is woken by one.

create or replace function care.publish_hints(p_limit integer)
returns integer
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_claimed care.outbox[];
  v_hints text;
begin
  -- What another node holds is its to tell.
  v_claimed := array(
    select o
      from care.outbox o
     where o.published_at is null
     order by o.created_at
     limit p_limit
       for no key update skip locked);
  update care.outbox o
     set published_at = v_now
    from unnest(v_claimed) as c
   where o.community_id = c.community_id
     and o.id = c.id;
  for v_hints in
    select h.hints from care.hints(v_claimed) h
  loop
    -- Here, and not where it is written: NOTIFY makes every transaction that has one commit after the other.
    perform pg_notify('care_hints', v_hints);
  end loop;
  return cardinality(v_claimed);
end
$$;
comment on function care.publish_hints(integer) is
  'Marks up to p_limit outbox rows as published and notifies care_hints of them in the same transaction; how many.';

create or replace function care.untold_hints(p_limit integer)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_rows care.outbox[];
begin
  v_rows := array(
    select o
      from care.outbox o
     where o.published_at is null
     order by o.created_at
     limit p_limit);
  return jsonb_build_object(
    'rows', (select coalesce(jsonb_agg(jsonb_build_array(r.community_id, r.id)), '[]') from unnest(v_rows) r),
    'hints', (select coalesce(jsonb_agg(h.hints), '[]') from care.hints(v_rows) h));
end
$$;
comment on function care.untold_hints(integer) is
  'Up to p_limit unpublished outbox rows, as community and id, and the hints that tell of them: for a channel outside.';

create or replace function care.mark_told(p_rows jsonb)
returns integer
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_count integer;
begin
  -- One order, since nodes may have told the same; what another has marked meanwhile keeps its time.
  with told as (
    select o.community_id, o.id
      from jsonb_array_elements(p_rows) r
      join care.outbox o
        on o.community_id = (r ->> 0)::uuid
       and o.id = (r ->> 1)::uuid
     where o.published_at is null
     order by o.community_id, o.id
       for no key update of o skip locked
  )
  update care.outbox o
     set published_at = v_now
    from told t
   where o.community_id = t.community_id
     and o.id = t.id;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function care.mark_told(jsonb) is
  'Marks outbox rows, a list of community and id, as published once a channel outside has taken their hints; how many.';

create or replace function care.hints(p_rows care.outbox[])
returns table (hints text)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return query
    with told as (
      select r.community_id, r.conversation_id, r.help_request_id, max(r.seq) as seq,
             -- The others show whose offer is accepted and what became of the request: each of its threads changed.
             r.topic in ('message.sent', 'offer.declined') or r.topic like 'conversation.%' as alone
        from unnest(p_rows) r
       group by r.community_id, r.conversation_id, r.help_request_id, alone
    ), touched as (
      select t.community_id, t.id, d.seq, t.requester_id, t.helper_id, t.status
        from told d
        join care.threads t
          on t.community_id = d.community_id
         and t.id = d.conversation_id
       where d.alone
       union all
      select t.community_id, t.id, null, t.requester_id, t.helper_id, t.status
        from told d
        join care.threads t
          on t.community_id = d.community_id
         and t.help_request_id = d.help_request_id
       where not d.alone
    ), numbered as (
      select jsonb_build_array(t.community_id, t.id, t.seq,
               -- To the requester it does not exist: a stream that is woken and tells nothing would say that it does.
               case when t.status <> 'held' then t.requester_id end, t.helper_id) as hint,
             row_number() over () as number
        from touched t
    )
    -- 40 of at most 180 bytes: a notification ends at 8000.
    select jsonb_agg(n.hint)::text
      from numbered n
     group by (n.number - 1) / 40;
end
$$;
comment on function care.hints(care.outbox[]) is
  'What outbox rows tell, as texts to notify: lists of community, conversation, seq, requester (null while held) and helper. Ids alone.';

create or replace function care.prune_outbox()
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_week_ago timestamptz := clock_timestamp() - interval '7 days';
  v_batch constant integer := 10000;
  v_events integer;
begin
  -- What has not been told yet is never too old to be told.
  delete from care.outbox e
   where e.ctid = any (array(
     select o.ctid
       from care.outbox o
      where o.published_at < v_week_ago
      order by o.published_at
      limit v_batch
        for no key update skip locked));
  get diagnostics v_events = row_count;
  return v_events;
end
$$;
comment on function care.prune_outbox() is 'Removes a batch of the events that were published a week ago; how many went.';

create or replace function care.live(p_conversation_id uuid, p_after integer, p_changed uuid[])
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
  v_rows jsonb;
begin
  v_me := care.identify(care.caller(), 'read');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  if p_conversation_id is not null then
    v_thread := care.find_thread(v_me.community_id, v_me.user_id, p_conversation_id);
    if v_thread.id is null then
      return care.refusal('not_found');
    end if;
  end if;
  -- Without a place from now on, and from now on too where a place is named that nobody has written yet.
  v_page := care.read_page(v_me.community_id, v_thread.id, 0, null,
    coalesce(least(p_after, v_thread.last_seq), v_thread.last_seq, -1), 100);
  if p_changed is null then
    v_rows := care.conversation_page(v_me.community_id, v_me.user_id, null, 20, 'all', null) -> 'conversations';
    if v_thread.id is not null and not v_rows @> jsonb_build_array(jsonb_build_object('id', v_thread.id)) then
      v_rows := v_rows || care.live_rows(v_me.community_id, v_me.user_id, array[v_thread.id]);
    end if;
  else
    v_rows := care.live_rows(v_me.community_id, v_me.user_id, p_changed);
  end if;
  return jsonb_build_object(
    'success', true, 'last_seq', v_thread.last_seq, 'messages', v_page.messages, 'has_more', v_page.has_more,
    'unread', care.unread_json(v_me.community_id, v_me.user_id), 'conversations', v_rows);
end
$$;
comment on function care.live(uuid, integer, uuid[]) is
  'What a stream shows: a conversation''s messages after a seq, and the caller''s inbox rows, named or the newest 20.';

create or replace function care.live_rows(p_community_id uuid, p_user_id uuid, p_changed uuid[])
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_ids uuid[];
begin
  v_ids := array(
    select t.id
      from unnest(p_changed) as c (id)
      join care.threads t
        on t.community_id = p_community_id
       and t.id = c.id
     -- As find_thread judges.
     where t.helper_id = p_user_id
        or (t.requester_id = p_user_id and t.status <> 'held'));
  return care.conversations_json(p_community_id, p_user_id, v_ids);
end
$$;
comment on function care.live_rows(uuid, uuid, uuid[]) is 'The inbox rows of these conversations, those that are the member''s.';

create or replace function care.unread_json(p_community_id uuid, p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_notifications integer := care.count_notifications(p_community_id, p_user_id);
begin
  -- Nobody counts past a hundred, and it bounds what a member with thousands of unread ones costs.
  return (
    select jsonb_build_object('conversations', count(*), 'messages', coalesce(sum(s.unread), 0),
             'notifications', v_notifications)
      from (
        select m.unread
          from public.conversation_members m
          join care.threads t
            on t.community_id = p_community_id
           and t.id = m.conversation_id
         where m.community_id = p_community_id
           and m.user_id = p_user_id
           and m.unread > 0
           and (t.status <> 'held' or t.helper_id = p_user_id)
         limit 100
      ) s);
end
$$;
comment on function care.unread_json(uuid, uuid) is
  'How many conversations, up to 100, hold how many unread messages, and how many notifications, up to 100, are unread.';
