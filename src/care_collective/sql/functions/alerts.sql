-- Telling operators what happened to the flag: each change once, by whichever node takes it first.

create or replace function care.take_untold()
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_until timestamptz := v_now + interval '60 seconds';
  -- Further ahead than any lease or pause: a clock was set back.
  v_never timestamptz := v_now + interval '1 hour';
  v_ids uuid[];
begin
  v_ids := array(
    select c.id
      from care.rollout_changes c
     where c.told_at is null
       and c.action in ('kill', 'trip', 'warn', 'resume')
       and (c.telling_until is null or c.telling_until <= v_now or c.telling_until > v_never)
     order by c.at
     limit 10
       for no key update skip locked);
  update care.rollout_changes c
     set telling_until = v_until,
         tries = c.tries + 1
   where c.id = any (v_ids);
  return jsonb_build_object(
    'changes', (select coalesce(jsonb_agg(jsonb_build_object(
                         'id', c.id, 'flag', c.flag, 'at', c.at, 'actor', c.actor, 'action', c.action,
                         'from_stage', c.from_stage, 'to_stage', c.to_stage, 'why', c.why, 'words', c.words,
                         'numbers', c.numbers, 'told_by', c.told_by, 'tries', c.tries,
                         'retired', f.retired_at is not null) order by c.at), '[]')
                  from care.rollout_changes c
                  join care.rollout_flags f
                    on f.name = c.flag
                 where c.id = any (v_ids)),
    'waiting', (select count(*)
                  from care.rollout_changes c
                 where c.told_at is null
                   and c.action in ('kill', 'trip', 'warn', 'resume')
                   and c.tries > 0
                   and c.id <> all (v_ids)),
    'operators', (select coalesce(jsonb_agg(u.email order by u.email), '[]')
                    from care.operators o
                    join care.users u
                      on u.id = o.user_id
                   where u.deleted_at is null));
end
$$;
comment on function care.take_untold() is
  'Changes that operators have not been told, leased for a minute to who asks; how many others wait for another try; the operators'' addresses.';

create or replace function care.keep_told(p_id uuid, p_told_by text[], p_done boolean, p_again_seconds integer)
returns void
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_again timestamptz := v_now + make_interval(secs => p_again_seconds);
begin
  update care.rollout_changes c
     set told_by = p_told_by,
         told_at = case when p_done then v_now end,
         telling_until = case when p_done then null else v_again end
   where c.id = p_id
     and c.told_at is null;
end
$$;
comment on function care.keep_told(uuid, text[], boolean, integer) is
  'By which channels a change has been told: by all (done), or when to try the others again.';
