-- Counting (rollout.md): what processes hand over every 2 seconds becomes one row an attempt and counts a minute. Only
-- the database's clock counts: an event comes with its age, so no node's clock has to be right.

create or replace function care.histogram_bounds()
returns integer[]
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- BOUNDS_MS of rollout/outcomes.py; a test compares the two.
  return array[1, 2, 3, 4, 5, 7, 10, 15, 20, 25, 35, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2000, 5000, 10000];
end
$$;
comment on function care.histogram_bounds() is
  'The upper ends of a histogram''s buckets in milliseconds, each belonging to its bucket; one more bucket has no end.';

create or replace function care.percentile(p_histogram bigint[], p_share double precision)
returns double precision
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_bounds integer[] := care.histogram_bounds();
  v_wanted double precision;
  v_below bigint := 0;
  v_lower integer := 0;
begin
  select p_share * sum(h.calls) into v_wanted from unnest(p_histogram) as h (calls);
  if coalesce(v_wanted, 0) = 0 then
    return null;
  end if;
  for v_bucket in 1 .. cardinality(v_bounds) loop
    if v_below + p_histogram[v_bucket] >= v_wanted then
      return v_lower + (v_bounds[v_bucket] - v_lower) * (v_wanted - v_below) / p_histogram[v_bucket];
    end if;
    v_below := v_below + p_histogram[v_bucket];
    v_lower := v_bounds[v_bucket];
  end loop;
  return v_lower;
end
$$;
comment on function care.percentile(bigint[], double precision) is
  'The milliseconds that this share of calls stayed within, straight between a bucket''s ends; past the last end that end; null without calls.';

create or replace function care.wilson(
  p_successes bigint, p_attempts bigint, out low double precision, out high double precision)
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_z constant double precision := 1.959964;
  v_rate double precision;
  v_scale double precision;
  v_half double precision;
begin
  if p_attempts = 0 then
    return;
  end if;
  v_rate := p_successes::double precision / p_attempts;
  v_scale := 1 + v_z * v_z / p_attempts;
  v_half := v_z * sqrt(v_rate * (1 - v_rate) / p_attempts + v_z * v_z / (4.0 * p_attempts * p_attempts)) / v_scale;
  low := greatest((v_rate + v_z * v_z / (2.0 * p_attempts)) / v_scale - v_half, 0);
  high := least((v_rate + v_z * v_z / (2.0 * p_attempts)) / v_scale + v_half, 1);
end
$$;
comment on function care.wilson(bigint, bigint) is
  'Wilson''s interval, 95 %, of a share that was seen so often in so many; nulls without any.';

-- ------------------------------------------------------------------------------------------------ what is handed over

create or replace function care.merge_attempt(p_event care.engine_outcomes)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_from timestamptz := p_event.opened_at - interval '60 seconds';
  v_to timestamptz := p_event.opened_at + interval '60 seconds';
  v_found care.engine_outcomes;
begin
  -- Forward and back: which half of an attempt arrives first says nothing. A pair has one conversation for ever, so
  -- whoever is told of success again, at any time, is answered by a key and does not try anew.
  select o.*
    into v_found
    from care.engine_outcomes o
   where o.user_id = p_event.user_id
     and o.help_request_id = p_event.help_request_id
     and o.version = p_event.version
     and (o.kind = 'answer') = (p_event.kind = 'answer')
     and (o.kind <> 'answer' or o.code = p_event.code)
     and (o.opened_at between v_from and v_to or (o.kind = 'success' and p_event.kind = 'success'))
   order by o.opened_at between v_from and v_to desc, o.opened_at
   limit 1;
  if not found then
    insert into care.engine_outcomes
      (id, community_id, help_request_id, user_id, version, endpoint, opened_at, closed_at, success, code, kind,
       duration_ms, node_id, reference)
    values
      (p_event.id, p_event.community_id, p_event.help_request_id, p_event.user_id, p_event.version, p_event.endpoint,
       p_event.opened_at, p_event.closed_at, p_event.success, p_event.code, p_event.kind, p_event.duration_ms,
       p_event.node_id, p_event.reference);
    return;
  end if;

  -- Success stands above failure, and failure above what both engines shared. An answer never mends a failure: an
  -- engine that says "you have a conversation already" to whoever it showed an error has failed (product.md).
  if (p_event.kind = 'success' and v_found.kind <> 'success')
     or (p_event.kind = 'failure' and v_found.kind = 'shared')
     or (p_event.kind = 'failure' and v_found.kind = 'failure' and p_event.opened_at < v_found.opened_at) then
    v_found.kind := p_event.kind;
    v_found.success := p_event.success;
    v_found.code := p_event.code;
    v_found.closed_at := p_event.closed_at;
    v_found.duration_ms := p_event.duration_ms;
    v_found.node_id := p_event.node_id;
    v_found.reference := p_event.reference;
  end if;
  v_found.opened_at := least(v_found.opened_at, p_event.opened_at);
  update care.engine_outcomes o
     set opened_at = v_found.opened_at,
         closed_at = v_found.closed_at,
         success = v_found.success,
         code = v_found.code,
         kind = v_found.kind,
         duration_ms = v_found.duration_ms,
         node_id = v_found.node_id,
         reference = v_found.reference,
         retries = o.retries + 1
   where o.id = v_found.id;
end
$$;
comment on function care.merge_attempt(care.engine_outcomes) is
  'Puts one call''s outcome to the attempt it belongs to, of the same helper, request and engine within 60 s, or opens one.';

create or replace function care.record_attempts(p_node_id uuid, p_events jsonb, p_dropped bigint default 0)
returns bigint
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_last bigint := 0;
  v_newest bigint;
  v_events care.engine_outcomes[];
  v_alone care.engine_outcomes[];
  v_together care.engine_outcomes[];
  v_event care.engine_outcomes;
begin
  -- One flush at a time, of all nodes: the two halves of one attempt have to see each other. Readers do not wait.
  lock table care.engine_writers in share row exclusive mode;
  select w.last_event
    into v_last
    from care.engine_writers w
   where w.node_id = p_node_id;
  v_last := coalesce(v_last, 0);

  -- What was sent before is seen by its number: a repeated flush doubles nothing.
  select coalesce(max(e.number), v_last), coalesce(array_agg(
           row(gen_random_uuid(), e.community_id, e.help_request_id, e.user_id, e.version, e.endpoint, t.at,
               case when e.kind in ('success', 'answer') then t.at end,
               case e.kind when 'success' then true when 'failure' then false end,
               e.code, e.kind, e.duration_ms, p_node_id, e.reference, 0, null)::care.engine_outcomes
           order by e.number), '{}')
    into v_newest, v_events
    from jsonb_to_recordset(p_events) as e (
           number bigint, age_ms double precision, community_id uuid, help_request_id uuid, user_id uuid, version text,
           endpoint text, kind text, code text, duration_ms double precision, reference text)
   cross join lateral (select v_now - make_interval(secs => greatest(e.age_ms, 0) / 1000) as at) t
   where e.number > v_last;

  -- Nearly all are the only call of their pair: those are written in one statement.
  select array_agg(e.event) filter (where e.alone), coalesce(array_agg(e.event) filter (where not e.alone), '{}')
    into v_alone, v_together
    from (select r as event,
                 count(*) over (partition by r.user_id, r.help_request_id) = 1
                   and not exists (
                     select 1
                       from care.engine_outcomes o
                      where o.user_id = r.user_id
                        and o.help_request_id = r.help_request_id) as alone
            from unnest(v_events) as r) e;
  insert into care.engine_outcomes
    (id, community_id, help_request_id, user_id, version, endpoint, opened_at, closed_at, success, code, kind,
     duration_ms, node_id, reference)
  select r.id, r.community_id, r.help_request_id, r.user_id, r.version, r.endpoint, r.opened_at, r.closed_at,
         r.success, r.code, r.kind, r.duration_ms, r.node_id, r.reference
    from unnest(v_alone) as r;
  foreach v_event in array v_together loop
    perform care.merge_attempt(v_event);
  end loop;

  insert into care.engine_writers as w (node_id, last_event, dropped, seen_at)
  values (p_node_id, v_newest, p_dropped, v_now)
  on conflict on constraint engine_writers_pkey do update
    set last_event = excluded.last_event,
        dropped = excluded.dropped,
        seen_at = excluded.seen_at;
  return v_newest;
end
$$;
comment on function care.record_attempts(uuid, jsonb, bigint) is
  'Takes a process''s numbered outcomes of openings, each with its age, and how many it has dropped so far; the last number that is written.';

create or replace function care.record_minutes(p_node_id uuid, p_minutes jsonb)
returns void
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_minutes care.engine_minutes[];
begin
  -- The process counts its minutes itself, from its start; when each began is told by the database's clock.
  v_minutes := array(
    select row(p_node_id, e.slot, date_trunc('minute', v_now - make_interval(secs => greatest(e.age_ms, 0) / 1000)),
               e.version, e.verb, e.code, e.calls, e.histogram)::care.engine_minutes
      from jsonb_to_recordset(p_minutes) as e (
             slot integer, age_ms double precision, version text, verb text, code text, calls integer,
             histogram integer[]));
  insert into care.engine_minutes as m (node_id, slot, minute, version, verb, code, calls, histogram)
  select r.node_id, r.slot, r.minute, r.version, r.verb, r.code, r.calls, r.histogram
    from unnest(v_minutes) as r
  on conflict on constraint engine_minutes_pkey do update
    set calls = excluded.calls,
        histogram = excluded.histogram;
end
$$;
comment on function care.record_minutes(uuid, jsonb) is
  'Takes a process''s counts of whole minutes so far, in place of what it said of them before.';

create or replace function care.prune_outcomes()
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_batch constant integer := 10000;
  -- A year's rollout can be laid beside the last one's, month by month.
  v_outcomes timestamptz := v_now - interval '13 months';
  -- 15 days of stages, 2 weeks without an opening in V1 and 30 days more before it may retire, and as much again.
  v_minutes timestamptz := v_now - interval '120 days';
  v_removed integer;
  v_total integer := 0;
begin
  delete from care.engine_outcomes d
   where d.ctid = any (array(
     select o.ctid
       from care.engine_outcomes o
      where o.opened_at < v_outcomes
      order by o.opened_at
      limit v_batch
        for no key update skip locked));
  get diagnostics v_removed = row_count;
  v_total := v_total + v_removed;
  delete from care.engine_minutes d
   where d.ctid = any (array(
     select o.ctid
       from care.engine_minutes o
      where o.minute < v_minutes
      order by o.minute
      limit v_batch
        for no key update skip locked));
  get diagnostics v_removed = row_count;
  v_total := v_total + v_removed;
  -- A process that has written nothing for so long has ended, and sends nothing again.
  delete from care.engine_writers d
   where d.seen_at < v_minutes;
  get diagnostics v_removed = row_count;
  return v_total + v_removed;
end
$$;
comment on function care.prune_outcomes() is
  'Removes a batch of attempts older than 13 months and of counts older than 120 days; how many rows went.';

-- --------------------------------------------------------------------------------------- for anyone with a SQL prompt

create or replace view care.rollout_daily with (security_invoker = true) as
  with d as (
    select (now() at time zone 'UTC')::date - n.ago as day
      from generate_series(0, 6) as n (ago)
  )
  select d.day,
         count(o.id) filter (where o.version = 'v1') as v1,
         count(o.id) filter (where o.version = 'v2') as v2,
         round(count(o.id) filter (where o.version = 'v2') / nullif(count(o.id), 0)::numeric, 4) as share
    from d
    left join care.engine_outcomes o
      on o.kind = 'success'
     and o.opened_at >= d.day::timestamp at time zone 'UTC'
     and o.opened_at < (d.day + 1)::timestamp at time zone 'UTC'
   group by d.day
   order by d.day desc;
comment on view care.rollout_daily is
  'The last 7 days, of UTC, today first: conversations opened in V1 and in V2, and V2''s share of both, 0 to 1, null on a day without any.';

create or replace view care.rollout_success with (security_invoker = true) as
  with p as (
    select n.days, now() - n.days * interval '1 day' as since
      from unnest(array[1, 7, 30]) as n (days)
  )
  select p.days, e.version,
         count(o.id) filter (where o.kind in ('success', 'failure')) as attempts,
         count(o.id) filter (where o.kind = 'success') as successes,
         count(o.id) filter (where o.kind = 'failure') as failures,
         count(o.id) filter (where o.kind = 'shared') as shared,
         count(o.id) filter (where o.kind = 'answer') as answers,
         round(count(o.id) filter (where o.kind = 'success')
               / nullif(count(o.id) filter (where o.kind in ('success', 'failure')), 0)::numeric, 4) as success_rate
    from p
   cross join unnest(array['v1', 'v2']) as e (version)
    left join care.engine_outcomes o
      on o.version = e.version
     and o.opened_at >= p.since
   group by p.days, e.version
   order by p.days, e.version;
comment on view care.rollout_success is
  'Each engine over the last 1, 7 and 30 days: attempts that succeeded and that failed. success_rate, 0 to 1, is null without attempts. shared: neither engine could be reached. answers: refused by a rule, no failure.';
