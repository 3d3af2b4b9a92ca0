-- The numbers of a rollout, for the page, the commands and /api/ops/kpis (rollout.md, numbers shown). Counts, never ids
-- or words. A rate without attempts is null, never 1.

create or replace function care.latency_numbers(p_version text, p_since timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_histogram bigint[];
begin
  -- How long those waited who came through or met a fault; a refusal is quick and says nothing of an engine.
  select array_agg(b.calls order by b.place)
    into v_histogram
    from (select h.place, sum(h.calls)::bigint as calls
            from care.engine_minutes m
           cross join lateral unnest(m.histogram) with ordinality as h (calls, place)
           where m.version = p_version
             and m.verb = 'open'
             and m.minute >= p_since
             and m.code in ('success', 'server_error', 'rpc_error', 'unavailable')
           group by h.place) b;
  return jsonb_build_object(
    'p50_ms', care.percentile(v_histogram, 0.5),
    'p95_ms', care.percentile(v_histogram, 0.95),
    'p99_ms', care.percentile(v_histogram, 0.99));
end
$$;
comment on function care.latency_numbers(text, timestamptz) is
  'Percentiles of how long openings of an engine took since a moment, in milliseconds; nulls without any.';

create or replace function care.answered_numbers(p_version text, p_since timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_days constant interval := interval '3 days';
  v_old_enough timestamptz := clock_timestamp() - v_days;
  v_offers bigint;
  v_answered bigint;
begin
  -- Answered: the requester wrote, declined, or accepted this helper. Only offers that have had their three days.
  select count(*), count(*) filter (where a.answered)
    into v_offers, v_answered
    from care.threads t
    join public.help_requests r
      on r.community_id = t.community_id
     and r.id = t.help_request_id
   cross join lateral (
     select t.created_at + v_days as until) d
   cross join lateral (
     select (t.status = 'declined' and t.updated_at <= d.until)
         or (r.helper_id = t.helper_id and r.in_progress_at <= d.until)
         or exists (
              select 1
                from care.thread_messages m
               where m.community_id = t.community_id
                 and m.conversation_id = t.id
                 and m.sender_id = t.requester_id
                 and m.created_at <= d.until) as answered) a
   where t.version = p_version
     and t.status <> 'held'
     and t.created_at >= p_since
     and t.created_at <= v_old_enough;
  return jsonb_build_object(
    'offers', v_offers,
    'answered', v_answered,
    'answered_rate', round(v_answered / nullif(v_offers, 0)::numeric, 4));
end
$$;
comment on function care.answered_numbers(text, timestamptz) is
  'Offers of an engine since a moment that have had three days, and how many of them the requester answered within these.';

create or replace function care.engine_numbers(p_version text, p_since timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_minute_ago timestamptz := clock_timestamp() - interval '60 seconds';
  v_successes bigint;
  v_failures bigint;
  v_shared bigint;
  v_answers bigint;
  v_complaints bigint;
  v_codes jsonb;
  v_interval record;
begin
  -- A failure of the last minute is open: a success can still mend it.
  select count(*) filter (where o.kind = 'success'),
         count(*) filter (where o.kind = 'failure' and o.opened_at < v_minute_ago),
         count(*) filter (where o.kind = 'shared' and o.opened_at < v_minute_ago),
         count(*) filter (where o.kind = 'answer')
    into v_successes, v_failures, v_shared, v_answers
    from care.engine_outcomes o
   where o.version = p_version
     and o.opened_at >= p_since;
  select jsonb_object_agg(c.kind, c.codes)
    into v_codes
    from (select f.kind, jsonb_object_agg(f.code, f.attempts) as codes
            from (select o.kind, o.code, count(*) as attempts
                    from care.engine_outcomes o
                   where o.version = p_version
                     and o.opened_at >= p_since
                     and (o.kind = 'answer' or (o.kind = 'failure' and o.opened_at < v_minute_ago))
                   group by o.kind, o.code) f
           group by f.kind) c;
  select count(*)
    into v_complaints
    from care.problem_reports p
   where p.version = p_version
     and p.created_at >= p_since;
  v_interval := care.wilson(v_successes, v_successes + v_failures);
  return jsonb_build_object(
      'attempts', v_successes + v_failures,
      'successes', v_successes,
      'failures', v_failures,
      'shared', v_shared,
      'answers', v_answers,
      'success_rate', round(v_successes / nullif(v_successes + v_failures, 0)::numeric, 6),
      'success_low', v_interval.low,
      'success_high', v_interval.high,
      'failure_codes', coalesce(v_codes -> 'failure', '{}'),
      'answer_codes', coalesce(v_codes -> 'answer', '{}'),
      'complaints', v_complaints,
      'complaints_per_100', round(100 * v_complaints / nullif(v_successes, 0)::numeric, 2))
    || care.latency_numbers(p_version, p_since)
    || care.answered_numbers(p_version, p_since);
end
$$;
comment on function care.engine_numbers(text, timestamptz) is
  'One engine since a moment: attempts with the success rate and its 95 % interval, codes, latency, complaints, answered offers.';

create or replace function care.adoption_numbers(p_since timestamptz)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_minute_ago timestamptz := clock_timestamp() - interval '60 seconds';
begin
  return coalesce((
    select jsonb_agg(jsonb_build_object(
             'day', d.day, 'v1', d.v1, 'v2', d.v2, 'share', round(d.v2 / nullif(d.v1 + d.v2, 0)::numeric, 4),
             'v1_failures', d.v1_failures, 'v2_failures', d.v2_failures) order by d.day)
      from (select (o.opened_at at time zone 'UTC')::date as day,
                   count(*) filter (where o.version = 'v1' and o.kind = 'success') as v1,
                   count(*) filter (where o.version = 'v2' and o.kind = 'success') as v2,
                   count(*) filter (where o.version = 'v1' and o.kind = 'failure') as v1_failures,
                   count(*) filter (where o.version = 'v2' and o.kind = 'failure') as v2_failures
              from care.engine_outcomes o
             where o.opened_at >= p_since
               and (o.kind = 'success' or (o.kind = 'failure' and o.opened_at < v_minute_ago))
             group by 1) d), '[]');
end
$$;
comment on function care.adoption_numbers(timestamptz) is
  'Conversations opened in each engine a day of UTC since a moment, V2''s share of both, and attempts that failed; a day without any is not there.';

create or replace function care.rollout_numbers(p_flag text, p_since timestamptz default null)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_hour_ago timestamptz := v_now - interval '1 hour';
  -- A young stage has few days: a chart of a fortnight shows what was before it too.
  v_fortnight timestamptz := v_now - interval '14 days';
  v_since timestamptz := p_since;
begin
  if v_since is null then
    select f.stage_since
      into v_since
      from care.rollout_flags f
     where f.name = p_flag;
  end if;
  return jsonb_build_object(
    'since', v_since,
    'until', v_now,
    'v1', care.engine_numbers('v1', v_since),
    'v2', care.engine_numbers('v2', v_since),
    'adoption', care.adoption_numbers(least(v_since, v_fortnight)),
    'last_v1_at', (
      select max(o.opened_at)
        from care.engine_outcomes o
       where o.version = 'v1'
         and o.kind = 'success'),
    'complaining_members_last_hour', (
      select count(distinct p.user_id)
        from care.problem_reports p
       where p.created_at >= v_hour_ago),
    'orphans', (
      select count(*)
        from public.conversations c
       where c.last_seq < 0)) || care.checked_violations(p_flag);
end
$$;
comment on function care.rollout_numbers(text, timestamptz) is
  'The numbers of a flag''s rollout since a moment, or since its stage began: both engines side by side, adoption, complaints, orphans, violations as the guard has found them.';

create or replace function care.checked_violations(p_flag text)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return coalesce((
    select jsonb_build_object('violations', k.found, 'violations_at', k.looked_until, 'violation', k.detail)
      from care.rollout_checks k
     where k.flag = p_flag), '{"violations": null, "violations_at": null, "violation": null}');
end
$$;
comment on function care.checked_violations(text) is
  'How many violations the guard knows of in V2, when it looked last, and the first in words; a look of its own costs nothing.';

create or replace function care.counted_violations()
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  return (
    select jsonb_build_object('violations', count(*), 'violations_at', v_now,
             'violation', min(v.kind || ' in conversation ' || v.subject || ' (' || v.detail || ')'))
      from care.violations() v
     -- What is no engine's doing, as a half deleted member, is doctor's to tell and nothing against V2.
     where v.engine in ('v2', 'v1+v2'));
end
$$;
comment on function care.counted_violations() is 'As checked_violations, counted now over every row there is: slow in a large database.';

create or replace function care.guard_state(p_flag text)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_since timestamptz := care.resumed_at(p_flag);
begin
  return jsonb_build_object(
    'level', care.guard_level(p_flag),
    'judged', coalesce((
      select d.judged
        from care.rollout_detectors d
       where d.flag = p_flag
         and d.version = 'v2'
         and d.since = v_since), 0),
    'rules', care.changed_rules(p_flag),
    'probe', (
      select jsonb_build_object('probed_at', b.probed_at, 'v2_alone', b.v2_alone, 'both', b.v1_too, 'code', b.code)
        from care.rollout_probes b
       where b.flag = p_flag),
    'untold', (
      select count(*)
        from care.rollout_changes c
       where c.flag = p_flag
         and c.told_at is null
         and c.tries > 0
         and c.action in ('kill', 'trip', 'warn', 'resume')));
end
$$;
comment on function care.guard_state(text) is
  'How the guard stands: the detector, what was changed of its rules, the last probe, how many alerts could not be sent yet.';

create or replace function care.rollout_kpis(p_flag text, p_exact boolean default false, p_changes integer default 20)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_flag jsonb := care.rollout_json(p_flag, p_changes);
  v_since timestamptz := (v_flag ->> 'since')::timestamptz;
  v_began timestamptz;
begin
  if v_flag -> 'success' <> 'true'::jsonb then
    return v_flag;
  end if;
  if v_flag ->> 'stopped' is not null then
    -- A stop begins nothing: what one wants to see are the numbers that led to it.
    select max(c.at)
      into v_began
      from care.rollout_changes c
     where c.flag = p_flag
       and c.action in ('set', 'resume');
    v_since := coalesce(v_began, v_since - interval '14 days');
  end if;
  return jsonb_build_object(
    'success', true,
    'rollout', v_flag,
    'numbers', care.rollout_numbers(p_flag, v_since) || case when p_exact then care.counted_violations() else '{}' end,
    'guard', care.guard_state(p_flag));
end
$$;
comment on function care.rollout_kpis(text, boolean, integer) is
  'All that operators see of a flag: the flag whole, its numbers, the guard. Violations are those that the guard knows of, or exactly counted.';
