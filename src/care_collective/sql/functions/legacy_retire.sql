-- How V1 stands, whether it may retire (rollout.md, stages), and its retirement: from then on off means paused.

create or replace function care.is_paused(p_flag text, p_community_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- The probe goes on comparing both engines: by that the guard tells V2's fault from one that all share.
  return exists (select 1 from care.rollout_flags f where f.name = p_flag and f.retired_at is not null)
     and not exists (select 1 from public.communities c where c.id = p_community_id and c.is_probe);
end
$$;
comment on function care.is_paused(text, uuid) is
  'Whether new offers wait where a flag does not open them: what stood behind it is retired.';

create or replace function care.legacy_quiet_since()
returns timestamptz
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- By the attempts, and by the conversations themselves, moved ones too: attempts are lost with a killed process.
  return greatest(
    (select max(e.opened_at) from care.engine_outcomes e where e.version = 'v1' and e.kind = 'success'),
    (select max(c.created_at) from public.conversations c where c.last_seq >= 0),
    (select max(l.opened_at) from care.legacy_moves l));
end
$$;
comment on function care.legacy_quiet_since() is 'When V1 last opened a conversation; null where it never has.';

create or replace function care.legacy_may_retire()
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_flag care.rollout_flags;
  v_last timestamptz := care.legacy_quiet_since();
  v_from timestamptz;
begin
  select f.* into v_flag from care.rollout_flags f where f.name = 'messaging_v2';
  -- Two weeks without an opening in V1 at stage on, then 30 days more (rollout.md, stages).
  v_from := greatest(v_last, v_flag.stage_since) + interval '44 days';
  return jsonb_build_object(
    'may', v_flag.stopped is null and v_flag.stage = 'on' and v_from <= v_now,
    'retired_at', v_flag.retired_at, 'last_opening', v_last, 'stage', v_flag.stage, 'stopped', v_flag.stopped,
    'from', case when v_flag.stopped is null and v_flag.stage = 'on' then v_from end);
end
$$;
comment on function care.legacy_may_retire() is
  'Whether V1 may retire, from when on it may where nothing changes, and by what that is judged.';

create or replace function care.legacy_status()
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_today date := (clock_timestamp() at time zone 'UTC')::date;
  v_since timestamptz := (v_today - 43)::timestamp at time zone 'UTC';
  v_days jsonb;
begin
  select jsonb_agg(jsonb_build_object('day', d.day, 'v1', d.v1, 'v2', d.v2) order by d.day)
    into v_days
    from (
      select v_today - 43 + n as day,
             count(e.id) filter (where e.version = 'v1') as v1, count(e.id) filter (where e.version = 'v2') as v2
        from generate_series(0, 43) n
        left join care.engine_outcomes e
          on e.kind = 'success'
         and e.opened_at >= v_since
         and (e.opened_at at time zone 'UTC')::date = v_today - 43 + n
       group by n) d;
  return jsonb_build_object(
    'success', true,
    'conversations', (
      select coalesce(jsonb_object_agg(s.status, s.count), '{}')
        from (select c.status, count(*) as count from public.conversations c where c.last_seq >= 0 group by c.status) s),
    'moved', (select count(*) from care.legacy_moves),
    'orphans', care.legacy_orphans(0),
    'days', v_days,
    'openings', jsonb_build_object(
      'last_14_days', (select jsonb_build_object('v1', sum((d ->> 'v1')::bigint), 'v2', sum((d ->> 'v2')::bigint))
                         from jsonb_array_elements(v_days) with ordinality as x (d, n) where x.n > 30),
      'last_44_days', (select jsonb_build_object('v1', sum((d ->> 'v1')::bigint), 'v2', sum((d ->> 'v2')::bigint))
                         from jsonb_array_elements(v_days) as x (d))),
    'retire', care.legacy_may_retire());
end
$$;
comment on function care.legacy_status() is
  'V1''s conversations by status, its orphans with their ages, the openings of both engines a day for 44 days, whether V1 may retire.';

create or replace function care.retire_v1(
  p_flag text, p_action text, p_force boolean, p_actor text, p_actor_id uuid, p_words text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_flag care.rollout_flags := care.lock_flag(p_flag);
  v_now timestamptz := clock_timestamp();
  v_retire boolean := p_action = 'retire';
  v_may jsonb := care.legacy_may_retire();
begin
  if v_retire and v_flag.retired_at is not null then
    return care.not_now(format('V1 is retired already, since %s.',
      to_char(v_flag.retired_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')));
  end if;
  if not v_retire and v_flag.retired_at is null then
    return care.not_now('V1 is not retired. Nothing was changed.');
  end if;
  if v_retire and not coalesce(p_force, false) and not (v_may ->> 'may')::boolean then
    return care.not_now(case
      when v_may ->> 'from' is null then
        'V1 may not retire yet: new conversations must have opened in V2 alone, at stage on, for 44 days.'
      else format('V1 may not retire before %s, 44 days after its last opening and after the stage became on.',
        to_char((v_may ->> 'from')::timestamptz at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')) end
      || ' See it: care-collective legacy status. Whoever has to may use --force.');
  end if;
  update care.rollout_flags f
     set retired_at = case when v_retire then v_now end
   where f.name = p_flag;
  return care.record_change(v_flag, p_action, p_actor, p_actor_id, null, p_words,
    p_numbers => v_may || jsonb_build_object('forced', coalesce(p_force, false)));
end
$$;
comment on function care.retire_v1(text, text, boolean, text, uuid, text) is
  'Retires V1, so that off means paused, or takes that back (unretire). Its tables and conversations stay as they are.';
