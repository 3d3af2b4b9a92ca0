-- The guard's calls: one that looks, one that keeps what was judged, one that warns; rows checked a few at a time; the
-- lease of the probe. Judging is Python's (rollout/guard). All times are the database's own.

create or replace function care.resumed_at(p_flag text)
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- What was before a person let it go on is no evidence against what goes on.
  return coalesce((
    select max(c.at)
      from care.rollout_changes c
     where c.flag = p_flag
       and c.action = 'resume'), '-infinity');
end
$$;
comment on function care.resumed_at(text) is 'When a flag was last resumed, or -infinity.';

create or replace function care.closed_attempts(p_since timestamptz, p_most integer)
returns table (id uuid, at timestamptz, kind text, helper uuid, code text, duration_ms double precision, judged boolean)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  -- A failure closes after 60 s; a success within them is written by then, for nodes flush every 2 s.
  v_open timestamptz := v_now - interval '63 seconds';
  v_minute constant interval := interval '60 seconds';
begin
  return query
    select o.id, coalesce(o.closed_at, o.opened_at + v_minute), o.kind, o.user_id, o.code, o.duration_ms,
           o.judged_at is not null
      from care.engine_outcomes o
     where o.version = 'v2'
       and o.opened_at > p_since
       and o.opened_at <= v_now
       and (o.closed_at is not null or o.opened_at <= v_open)
     order by o.opened_at desc
     limit p_most;
end
$$;
comment on function care.closed_attempts(timestamptz, integer) is
  'The newest attempts in V2 that nothing can change any more, opened after a time.';

create or replace function care.recent_attempts(p_since timestamptz)
returns table (id uuid, at timestamptz, kind text, helper uuid, code text, duration_ms double precision)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_open timestamptz := v_now - interval '63 seconds';
  v_minute constant interval := interval '60 seconds';
  v_lately timestamptz := greatest(p_since, v_now - interval '16 minutes');
begin
  return query
    select a.id, a.at, a.kind, a.helper, a.code, a.duration_ms
      from care.closed_attempts(p_since, 200) a
     union
    -- Beside them what was no answer: who is refused without end pushes no failure out of sight.
    select * from (
      select o.id, coalesce(o.closed_at, o.opened_at + v_minute), o.kind, o.user_id, o.code, o.duration_ms
        from care.engine_outcomes o
       where o.version = 'v2'
         and o.kind in ('success', 'failure')
         and o.opened_at > v_lately
         and o.opened_at <= v_now
         and (o.closed_at is not null or o.opened_at <= v_open)
       order by o.opened_at desc
       limit 200) f;
end
$$;
comment on function care.recent_attempts(timestamptz) is
  'The newest 200 closed attempts in V2 opened after a time, and of the last quarter of an hour the newest 200 that worked or failed.';

create or replace function care.unjudged_attempts(p_since timestamptz, p_most integer)
returns table (id uuid, at timestamptz, kind text, helper uuid, code text, duration_ms double precision)
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_open timestamptz := v_now - interval '63 seconds';
  v_minute constant interval := interval '60 seconds';
begin
  return query
    select o.id, coalesce(o.closed_at, o.opened_at + v_minute), o.kind, o.user_id, o.code, o.duration_ms
      from care.engine_outcomes o
     where o.version = 'v2'
       and o.judged_at is null
       and o.kind in ('success', 'failure')
       and o.opened_at > p_since
       and (o.closed_at is not null or o.opened_at <= v_open)
     order by coalesce(o.closed_at, o.opened_at + v_minute), o.id
     limit p_most;
end
$$;
comment on function care.unjudged_attempts(timestamptz, integer) is
  'Closed attempts in V2 that the detector has not been fed, in the order of closing.';

create or replace function care.complaints(p_since timestamptz, p_opens boolean)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_since timestamptz := greatest(p_since, v_now - interval '1 hour');
begin
  -- A report that names no engine counts while V2 opens something; one about V1 never does.
  return (
    select coalesce(jsonb_agg(jsonb_build_object('complaining', r.complaining, 'members', m.members)), '[]')
      from (
        select o.community_id, count(*) as complaining
          from (
            -- Whoever belongs to several communities is one person.
            select distinct on (p.user_id) p.user_id, p.community_id
              from care.problem_reports p
             where p.created_at > v_since
               and p.created_at <= v_now
               and (p.version = 'v2' or (p.version is null and p_opens))
             order by p.user_id, p.created_at) o
         group by o.community_id
      ) r
     cross join lateral (
       select count(*) as members
         from (
           select 1
             from public.profiles f
            where f.community_id = r.community_id
              and f.verification_status = 'approved'
              and f.deleted_at is null
            limit 1000) s
     ) m);
end
$$;
comment on function care.complaints(timestamptz, boolean) is
  'For each community the distinct members who reported a problem with V2 within the hour, of how many (1,000 at most).';

create or replace function care.guard_look(p_flag text)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_flag care.rollout_flags;
  v_since timestamptz := care.resumed_at(p_flag);
  v_live timestamptz := care.live_since();
  v_opens boolean;
begin
  select f.* into v_flag from care.rollout_flags f where f.name = p_flag;
  v_opens := v_flag.stopped is null and (coalesce(care.canonical_stage(v_flag.stage), 'off') <> 'off' or exists (
    select 1 from care.rollout_nodes n where n.seen_at > v_live and n.stage <> 'off'));
  return jsonb_build_object(
    'now', extract(epoch from v_now), 'generation', v_flag.generation, 'stopped', v_flag.stopped, 'opens', v_opens,
    'since', case when isfinite(v_since) then v_since end,
    'rules', care.changed_rules(p_flag),
    'kept', (select jsonb_build_object('levels', d.levels, 'judged', d.judged, 'generation', d.generation,
                      'fresh', d.since is distinct from v_since) || d.rise
               from care.rollout_detectors d
              where d.flag = p_flag
                and d.version = 'v2'),
    'unjudged', (select coalesce(jsonb_agg(jsonb_build_object('id', u.id, 'outcome', jsonb_build_object(
                          'at', extract(epoch from u.at), 'kind', u.kind, 'helper', u.helper, 'code', u.code,
                          'duration_ms', u.duration_ms)) order by u.at, u.id), '[]')
                   from care.unjudged_attempts(v_since, 500) u),
    'recent', (select coalesce(jsonb_agg(jsonb_build_object(
                        'at', extract(epoch from a.at), 'kind', a.kind, 'helper', a.helper, 'code', a.code,
                        'duration_ms', a.duration_ms) order by a.at, a.id), '[]')
                 from care.recent_attempts(v_since) a),
    'violations', (select jsonb_build_object('count', c.found, 'first', coalesce(c.detail, ''))
                     from care.rollout_checks c
                    where c.flag = p_flag),
    'probe', coalesce((select case when b.probed_at > v_since and b.probed_at <= v_now then
                       jsonb_build_object('v2_alone', b.v2_alone, 'both', b.v1_too, 'code', b.code) else '{}' end
                from care.rollout_probes b
               where b.flag = p_flag), '{}'),
    'complaints', care.complaints(v_since, v_opens));
end
$$;
comment on function care.guard_look(text) is
  'All evidence that the guard judges by, since the flag was last resumed: attempts, detector, complaints, violations, probe.';

create or replace function care.guard_keep(
  p_flag text, p_generation bigint, p_since timestamptz, p_levels double precision[], p_judged bigint, p_rise jsonb,
  p_ids uuid[])
returns boolean
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_since timestamptz := coalesce(p_since, '-infinity');
begin
  -- Compare and swap: of two nodes that judged the same attempts one stores them, and the other looks again.
  if p_generation = 0 then
    insert into care.rollout_detectors (flag, version, levels, judged, rise, since, generation, updated_at)
    values (p_flag, 'v2', p_levels, p_judged, p_rise, v_since, 1, v_now)
    on conflict on constraint rollout_detectors_pkey do nothing;
  else
    update care.rollout_detectors d
       set levels = p_levels,
           judged = p_judged,
           rise = p_rise,
           since = v_since,
           generation = d.generation + 1,
           updated_at = v_now
     where d.flag = p_flag
       and d.version = 'v2'
       and d.generation = p_generation;
  end if;
  if not found then
    return false;
  end if;
  update care.engine_outcomes o
     set judged_at = v_now
   where o.id = any (p_ids);
  -- Attempts from before the flag was resumed that a node wrote late: they are past, and are never fed.
  update care.engine_outcomes o
     set judged_at = v_now
   where o.version = 'v2'
     and o.judged_at is null
     and o.kind in ('success', 'failure')
     and o.opened_at <= v_since;
  return true;
end
$$;
comment on function care.guard_keep(text, bigint, timestamptz, double precision[], bigint, jsonb, uuid[]) is
  'Stores the detector after the attempts named, unless another node has stored since generation; says whether it did.';

create or replace function care.guard_warn(
  p_flag text, p_rule text, p_words text, p_numbers jsonb, p_node_id uuid)
returns boolean
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_lately timestamptz := v_now - interval '1 minute';
  v_over timestamptz := v_now - interval '15 minutes';
  v_began timestamptz;
begin
  -- Nearly always it is the same episode, told already: nothing is written more than once a minute.
  perform 1
     from care.rollout_episodes e
    where e.flag = p_flag
      and e.rule = p_rule
      and e.seen_at between v_lately and v_now;
  if found then
    return false;
  end if;
  insert into care.rollout_episodes as e (flag, rule, began_at, seen_at)
  values (p_flag, p_rule, v_now, v_now)
  on conflict on constraint rollout_episodes_pkey do update
    set began_at = case when e.seen_at < v_over then excluded.began_at else e.began_at end,
        seen_at = excluded.seen_at
  returning e.began_at into v_began;
  if v_began <> v_now then
    return false;
  end if;
  perform care.record_change(care.lock_flag(p_flag), 'warn', 'guard', null, p_rule, p_words,
    p_numbers => p_numbers, p_node_id => p_node_id);
  return true;
end
$$;
comment on function care.guard_warn(text, text, text, jsonb, uuid) is
  'Records a warning of a rule once an episode, which ends when the rule has not held for 15 minutes; says whether it did.';

create or replace function care.guard_level(p_flag text)
returns double precision
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select (select avg(l.level) from unnest(d.levels) as l (level))
      from care.rollout_detectors d
     where d.flag = p_flag
       and d.version = 'v2'
       and d.since = care.resumed_at(p_flag));
end
$$;
comment on function care.guard_level(text) is
  'The detector''s level: calm up to 10, it trips at 1,000,000; null before the first attempt since the flag was resumed.';

create or replace function care.change_rule(
  p_flag text, p_rule text, p_thresholds jsonb, p_dry_run boolean, p_actor text, p_actor_id uuid, p_words text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_flag care.rollout_flags := care.lock_flag(p_flag);
begin
  -- Names are the release's (rollout/guard/rules.py), which the command checks. What is no number no rule could read.
  if p_rule is null or jsonb_path_exists(p_thresholds, '$.* ? (@.type() != "number")') then
    return care.invalid('thresholds', 'Thresholds are numbers.');
  end if;
  insert into care.rollout_rules as r (flag, rule, thresholds, dry_run, updated_at, updated_by)
  values (p_flag, p_rule, p_thresholds, coalesce(p_dry_run, false), v_now, p_actor)
  on conflict on constraint rollout_rules_pkey do update
    set thresholds = r.thresholds || excluded.thresholds,
        dry_run = coalesce(p_dry_run, r.dry_run),
        updated_at = excluded.updated_at,
        updated_by = excluded.updated_by;
  return care.record_change(v_flag, 'rule', p_actor, p_actor_id, p_rule, p_words,
    p_numbers => p_thresholds || case when p_dry_run is null then '{}' else jsonb_build_object('dry_run', p_dry_run) end);
end
$$;
comment on function care.change_rule(text, text, jsonb, boolean, text, uuid, text) is
  'Changes thresholds of a rule of the guard, or whether it runs dry, and records it.';

create or replace function care.changed_rules(p_flag text)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_object_agg(r.rule, jsonb_build_object(
             'thresholds', r.thresholds, 'dry_run', r.dry_run, 'updated_at', r.updated_at, 'updated_by', r.updated_by)), '{}')
      from care.rollout_rules r
     where r.flag = p_flag);
end
$$;
comment on function care.changed_rules(text) is 'What operators changed of the rules, by rule.';

create or replace function care.recorded_attempts(p_since timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_since timestamptz := coalesce(p_since, '-infinity');
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'at', extract(epoch from a.at), 'kind', a.kind, 'helper', a.helper, 'code', a.code,
             'duration_ms', a.duration_ms) order by a.at, a.id), '[]')
      from care.closed_attempts(v_since, null) a);
end
$$;
comment on function care.recorded_attempts(timestamptz) is 'Every closed attempt in V2 opened after a time, in the order of closing: for the replay.';
