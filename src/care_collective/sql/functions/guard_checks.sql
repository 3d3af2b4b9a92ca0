-- What the guard tries and examines by itself: rows of V2, a few at a time, and the probe's own community.

create or replace function care.violations_among(p_communities uuid[], p_ids uuid[])
returns table (kind text, community_id uuid, subject uuid, detail text)
stable
set search_path = pg_catalog, pg_temp
language sql
as $$
  -- The kinds of care.violations() that rows of V2 can have, over few conversations and the newest 200 of their
  -- messages: each is a look into an index. One statement, so that all is seen at one moment.
  with ids as (
    select distinct i.community_id, i.id from unnest(p_communities, p_ids) as i (community_id, id)
  ), c as (
    select v.community_id, v.id, v.help_request_id, v.requester_id, v.helper_id, v.last_seq,
           greatest(v.last_seq - 200, 0) as low
      from ids
      join public.conversations_v2 v
        on v.community_id = ids.community_id
       and v.id = ids.id
  ), m as (
    select c.community_id, c.id, c.last_seq, c.low, c.requester_id, c.helper_id, counted.messages, counted.highest,
           counted.foreigners
      from c
     cross join lateral (
       select count(*) as messages, max(t.seq) as highest,
              count(*) filter (where t.sender_id not in (c.requester_id, c.helper_id)
                                  or t.recipient_id not in (c.requester_id, c.helper_id)) as foreigners
         from public.messages_v2 t
        where t.community_id = c.community_id
          and t.conversation_id = c.id
          and t.seq > c.low
     ) counted
  )
  select 'sequence_gap', m.community_id, m.id, 'last_seq ' || m.last_seq || ', highest ' || coalesce(m.highest, 0)
    from m
   where m.messages <> m.last_seq - m.low
      or coalesce(m.highest, m.low) <> m.last_seq
   union all
  select 'foreign_message', m.community_id, m.id, m.foreigners || ' messages'
    from m
   where m.foreigners > 0
   union all
  select 'conversation_without_member', c.community_id, c.id, 'member ' || p.user_id
    from c
   cross join lateral (values (c.requester_id), (c.helper_id)) as p (user_id)
   where not exists (
     select 1
       from public.conversation_members b
      where b.community_id = c.community_id
        and b.conversation_id = c.id
        and b.user_id = p.user_id)
   union all
  select 'unread_sum', c.community_id, c.id, 'member ' || b.user_id || ' has ' || b.unread || ', counted ' || counted.unread
    from c
    join public.conversation_members b
      on b.community_id = c.community_id
     and b.conversation_id = c.id
   cross join lateral (
     select count(t.seq) + (case when b.last_read_seq < 0 and b.user_id = c.requester_id then 1 else 0 end) as unread
       from public.messages_v2 t
      where t.community_id = b.community_id
        and t.conversation_id = b.conversation_id
        and t.seq > b.last_read_seq
        and t.recipient_id = b.user_id
   ) counted
   where c.last_seq - b.last_read_seq <= 200
     and counted.unread <> b.unread
   union all
  select 'double_pair', c.community_id, c.id, 'also ' || o.id
    from c
    join public.conversations o
      on o.community_id = c.community_id
     and o.help_request_id = c.help_request_id
     and o.created_by = c.helper_id
   union all
  select 'foreign_requester', c.community_id, c.id, 'owner ' || r.user_id
    from c
    join public.help_requests r
      on r.community_id = c.community_id
     and r.id = c.help_request_id
   where r.user_id <> c.requester_id
$$;
comment on function care.violations_among(uuid[], uuid[]) is
  'Violations of the V2 conversations named by community and id, by the newest 200 messages of each. care.violations() looks at everything.';

create or replace function care.check_rows(p_flag text)
returns integer
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_due timestamptz := v_now + interval '2 seconds';
  -- What commits late bears an earlier time; a transaction lives 10 seconds at most.
  v_late constant interval := interval '15 seconds';
  v_old timestamptz := v_now - interval '10 minutes';
  v_first constant uuid := '00000000-0000-0000-0000-000000000000'::uuid;
  v_check care.rollout_checks;
  v_from timestamptz;
  v_lately record;
  v_turn record;
  v_found record;
begin
  -- One node at a time; a due time far ahead is a clock that was set back.
  select c.*
    into v_check
    from care.rollout_checks c
   where c.flag = p_flag
     and (c.due_at <= v_now or c.due_at > v_due)
     for no key update skip locked;
  if not found then
    return null;
  end if;

  v_from := least(greatest(v_check.looked_until, v_old), v_now) - v_late;
  select array_agg(w.community_id) as communities, array_agg(w.conversation_id) as ids
    into v_lately
    from (
      select distinct o.community_id, o.conversation_id
        from care.outbox o
       where o.created_at > v_from
         and o.conversation_id is not null
       limit 500) w;
  -- And all others in turn, 100 a look: what nobody writes to can have been harmed by something else.
  select array_agg(s.community_id order by s.community_id, s.id) as communities,
         array_agg(s.id order by s.community_id, s.id) as ids
    into v_turn
    from (
      select v.community_id, v.id
        from public.conversations_v2 v
       where (v.community_id, v.id) > (coalesce(v_check.place_community, v_first), coalesce(v_check.place, v_first))
       order by v.community_id, v.id
       limit 100) s;
  select count(*)::integer as count, (array_agg(x.community_id))[1:50] as communities, (array_agg(x.subject))[1:50] as ids,
         min(x.kind || ' in conversation ' || x.subject || ' (' || x.detail || ')') as first
    into v_found
    from care.violations_among(
           v_check.suspect_communities || v_lately.communities || v_turn.communities,
           v_check.suspects || v_lately.ids || v_turn.ids) x;

  update care.rollout_checks c
     set due_at = v_due,
         looked_until = v_now,
         -- Fewer than asked for were the last ones: the next look begins anew.
         place_community = v_turn.communities[100],
         place = v_turn.ids[100],
         -- Looked at again each time, until it has been mended.
         suspect_communities = coalesce(v_found.communities, '{}'),
         suspects = coalesce(v_found.ids, '{}'),
         found = v_found.count,
         detail = v_found.first
   where c.flag = p_flag;
  return v_found.count;
end
$$;
comment on function care.check_rows(text) is
  'Checks what was written lately in V2, and 100 more conversations in turn, for violations; how many, null for not due.';

create or replace function care.probe_place()
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  -- Ids that never change: whichever node comes first makes the rows, and every other finds them.
  v_community_id constant uuid := '00000000-0000-4000-8000-0000000000c0'::uuid;
  v_owner_id constant uuid := '00000000-0000-4000-8000-0000000000a1'::uuid;
  v_helper_id constant uuid := '00000000-0000-4000-8000-0000000000a2'::uuid;
  v_request_id constant uuid := '00000000-0000-4000-8000-0000000000b1'::uuid;
begin
  -- A slug that nobody would take: a community of the same one would leave the guard without its probe.
  insert into public.communities (id, slug, name, is_probe)
  values (v_community_id, 'probe-' || v_community_id, 'Probe of the engines', true)
  on conflict do nothing;
  insert into care.users (id, email)
  values (v_owner_id, 'probe-owner@probe.invalid'), (v_helper_id, 'probe-helper@probe.invalid')
  on conflict do nothing;
  insert into public.profiles (community_id, user_id, display_name, verification_status)
  values (v_community_id, v_owner_id, 'Probe owner', 'approved'), (v_community_id, v_helper_id, 'Probe helper', 'approved')
  on conflict do nothing;
  insert into public.help_requests (community_id, id, user_id, title, category)
  values (v_community_id, v_request_id, v_owner_id, 'Probe of the engines', 'other')
  on conflict do nothing;
  return jsonb_build_object('community_id', v_community_id, 'helper_id', v_helper_id, 'help_request_id', v_request_id);
end
$$;
comment on function care.probe_place() is 'The community, two members and request of the probe, made where they are missing. Nobody can sign in there.';

create or replace function care.take_probe(p_flag text, p_node_id uuid)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_due timestamptz := v_now + interval '10 seconds';
begin
  -- While the flag is stopped V2 opens nothing, for the probe neither.
  if care.is_stopped(p_flag) then
    return null;
  end if;
  update care.rollout_probes b
     set due_at = v_due,
         node_id = p_node_id
   where b.flag = p_flag
     and (b.due_at <= v_now or b.due_at > v_due);
  return case when found then care.probe_place() end;
end
$$;
comment on function care.take_probe(text, uuid) is
  'The lease of the probe: whose helper and request to use, for the one node that asks first when it is due; else null.';

create or replace function care.keep_probe(p_flag text, p_node_id uuid, p_v1 boolean, p_v2 boolean, p_code text)
returns void
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_since timestamptz := care.resumed_at(p_flag);
begin
  update care.rollout_probes b
     set probed_at = v_now,
         v2_alone = case when p_v2 or not p_v1 then 0 when b.probed_at > v_since then b.v2_alone + 1 else 1 end,
         v1_too = case when p_v2 or p_v1 then 0 when b.probed_at > v_since then b.v1_too + 1 else 1 end,
         code = p_code
   where b.flag = p_flag
     and b.node_id = p_node_id;
end
$$;
comment on function care.keep_probe(text, uuid, boolean, boolean, text) is
  'What the probe found in each engine, by the node that holds its lease: counts how often running it failed.';
