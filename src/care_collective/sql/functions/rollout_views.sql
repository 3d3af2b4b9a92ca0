-- The flag as operators see it, and the nodes' reports. What the web process offers of it is for operators alone.

create or replace function care.live_since()
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- A node says every 2 seconds that it is there, and at its end that it is gone: one silent for longer was killed.
  return clock_timestamp() - interval '30 seconds';
end
$$;
comment on function care.live_since() is 'Since when a node must have been seen to count as there.';

create or replace function care.declaring_node()
returns text
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_since timestamptz := care.live_since();
begin
  return (
    select min(n.name)
      from care.rollout_nodes n
     where n.seen_at > v_since
       and n.source like 'environment:%');
end
$$;
comment on function care.declaring_node() is 'A live node whose environment decides, by name, or null.';

create or replace function care.report_node(
  p_node_id uuid, p_name text, p_release text, p_generation bigint, p_stage text, p_source text, p_alarm boolean)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_yesterday timestamptz := v_now - interval '1 day';
begin
  update care.rollout_nodes n
     set seen_at = v_now,
         reached_at = case when n.generation = p_generation then n.reached_at else v_now end,
         generation = p_generation,
         stage = p_stage,
         source = p_source,
         alarm = p_alarm
   where n.node_id = p_node_id;
  if not found then
    insert into care.rollout_nodes
      (node_id, name, release, started_at, seen_at, generation, reached_at, stage, source, alarm)
    values (p_node_id, p_name, p_release, v_now, v_now, p_generation, v_now, p_stage, p_source, p_alarm)
    on conflict on constraint rollout_nodes_pkey do nothing;
    delete from care.rollout_nodes n
     where n.seen_at < v_yesterday;
  end if;
  return care.read_flags();
end
$$;
comment on function care.report_node(uuid, text, text, bigint, text, text, boolean) is
  'Takes a node''s report of what it has in force, and answers every flag: a poll and a report are one call.';

create or replace function care.forget_node(p_node_id uuid)
returns void
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  delete from care.rollout_nodes n
   where n.node_id = p_node_id;
end
$$;
comment on function care.forget_node(uuid) is 'A node''s last word: it has ended.';

create or replace function care.rollout_nodes_json()
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_since timestamptz := care.live_since();
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'node_id', n.node_id, 'name', n.name, 'release', n.release, 'started_at', n.started_at,
             'seen_at', n.seen_at, 'seen_seconds_ago', round(extract(epoch from v_now - n.seen_at), 3),
             'generation', n.generation, 'reached_at', n.reached_at, 'stage', n.stage, 'source', n.source,
             'alarm', n.alarm) order by n.name, n.node_id), '[]')
      from care.rollout_nodes n
     where n.seen_at > v_since);
end
$$;
comment on function care.rollout_nodes_json() is 'Every live node with what it has in force.';

create or replace function care.rollout_changes_json(p_flag text, p_limit integer)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'id', c.id, 'at', c.at, 'actor', c.actor, 'action', c.action, 'from_stage', c.from_stage,
             'to_stage', c.to_stage, 'why', c.why, 'words', c.words, 'numbers', c.numbers, 'generation', c.generation,
             'told_at', c.told_at) order by c.at desc, c.generation desc), '[]')
      from (
        select h.*
          from care.rollout_changes h
         where h.flag = p_flag
         order by h.at desc, h.generation desc
         limit p_limit) c);
end
$$;
comment on function care.rollout_changes_json(text, integer) is 'The newest changes and warnings of a flag.';

create or replace function care.rollout_cohort_json(p_flag text)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'user_id', c.user_id, 'email', u.email, 'added_by', c.added_by, 'added_at', c.added_at)
             order by u.email), '[]')
      from care.rollout_cohort c
      join care.users u
        on u.id = c.user_id
     where c.flag = p_flag);
end
$$;
comment on function care.rollout_cohort_json(text) is 'The members named for a flag''s cohort; none means coordinators and operators.';

create or replace function care.rollout_json(p_flag text, p_changes integer default 20)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_flag jsonb := care.read_flag(p_flag);
begin
  if v_flag is null then
    return care.invalid('flag', format('There is no flag %s.', left(p_flag, 63)));
  end if;
  return v_flag || jsonb_build_object(
    'success', true,
    'readable', care.canonical_stage(v_flag ->> 'stage') is not null,
    'cohort', care.rollout_cohort_json(p_flag),
    'nodes', care.rollout_nodes_json(),
    'stopped_by', case when v_flag ->> 'stopped' is not null then (
       select jsonb_build_object('id', c.id, 'actor', c.actor, 'at', c.at, 'why', c.why, 'words', c.words,
                                 'numbers', c.numbers, 'from_stage', c.from_stage)
         from care.rollout_changes c
        where c.flag = p_flag
          and c.action in ('kill', 'trip')
        order by c.generation desc
        limit 1) end,
    'changes', care.rollout_changes_json(p_flag, p_changes));
end
$$;
comment on function care.rollout_json(text, integer) is
  'A flag whole: stage, who stopped it and why, cohort by name, every live node, the newest changes.';

create or replace function care.acting_operator(p_caller uuid)
returns text
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select u.email
      from care.operators o
      join care.users u
        on u.id = o.user_id
     where o.user_id = p_caller
       and u.deleted_at is null);
end
$$;
comment on function care.acting_operator(uuid) is 'The address of the caller where they are an operator, else null.';

create or replace function care.operate_rollout(p_action text, p_arguments jsonb)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_caller uuid := care.caller();
  v_operator text := care.acting_operator(v_caller);
  v_flag text := coalesce(p_arguments ->> 'flag', 'messaging_v2');
  v_answer jsonb;
begin
  if v_caller is null then
    return care.refusal('permission_denied', 'identity');
  end if;
  v_answer := case
    when v_operator is null then care.refusal('permission_denied', 'role',
      jsonb_build_object('message', 'This is for operators. Ask whoever runs this site.'))
    when p_action = 'see' then care.rollout_json(v_flag)
    when p_action = 'kpis' then care.rollout_kpis(v_flag, p_arguments ->> 'exact' = 'true')
    else care.change_once(p_action, p_arguments, v_flag, v_operator, v_caller) end;
  -- Looking is an operator's every minute: only where it was refused does it leave a line.
  if v_operator is null then
    perform care.audit_refused(v_caller, 'rollout.' || p_action, left(v_flag, 63), v_answer);
  elsif p_action not in ('see', 'kpis') then
    perform care.audit(v_caller, v_operator, 'rollout.' || p_action, left(v_flag, 63),
      v_answer -> 'success' = 'true'::jsonb, care.audited(p_arguments, v_answer));
  end if;
  return v_answer;
end
$$;
comment on function care.operate_rollout(text, jsonb) is
  'What an operator does over HTTP: see, kpis, set, kill, resume, cohort_add, cohort_remove. Refused and audited for anybody else.';

create or replace function care.audit_refused(p_caller uuid, p_action text, p_subject text, p_answer jsonb)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_lately timestamptz := v_now - interval '1 minute';
begin
  -- Whoever signs up may try: one line a minute tells as much as all, and nothing of what they sent is kept.
  perform 1
     from care.audit_log l
    where l.at > v_lately
      and l.actor_id = p_caller
      and l.action = p_action;
  if not found then
    perform care.audit(p_caller, 'a member', p_action, p_subject, false, jsonb_build_object('answer', p_answer));
  end if;
end
$$;
comment on function care.audit_refused(uuid, text, text, jsonb) is
  'Writes that somebody who is no operator tried what is for operators, once a minute.';

create or replace function care.change_once(
  p_action text, p_arguments jsonb, p_flag text, p_operator text, p_operator_id uuid)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.writing;
  v_answer jsonb;
begin
  -- The lock first, so that of two calls with one key the second finds the first one's answer.
  perform care.lock_flag(p_flag);
  v_me.community_id := care.community();
  v_me.user_id := p_operator_id;
  if v_me.community_id is not null then
    v_me := care.recall(v_me, 'rollout.' || p_action, p_arguments);
  end if;
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  v_answer := care.change_rollout(p_action, p_arguments, p_operator, p_operator_id);
  if v_answer -> 'success' <> 'true'::jsonb then
    return v_answer;
  end if;
  return care.remember(v_me, v_answer);
end
$$;
comment on function care.change_once(text, jsonb, text, text, uuid) is
  'As change_rollout, once for an idempotency key; the key is kept in the community that the operator acts in.';
