-- What is known of one rollback or warning, for whoever looks for its cause. Ids and codes, never a text of a member's.

create or replace function care.incident_attempts(p_since timestamptz, p_until timestamptz, p_limit integer)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'at', f.opened_at, 'code', f.code, 'endpoint', f.endpoint, 'reference', f.reference,
             'retries', f.retries, 'duration_ms', f.duration_ms, 'node_id', f.node_id, 'community_id', f.community_id,
             'help_request_id', f.help_request_id, 'user_id', f.user_id) order by f.opened_at desc, f.id), '[]')
      from (
        select o.*
          from care.engine_outcomes o
         where o.version = 'v2'
           and o.kind = 'failure'
           and o.opened_at > p_since
           and o.opened_at <= p_until
         order by o.opened_at desc, o.id
         limit p_limit) f);
end
$$;
comment on function care.incident_attempts(timestamptz, timestamptz, integer) is
  'The newest attempts in V2 that failed in a span of time.';

create or replace function care.incident_json(p_flag text, p_id uuid default null)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_change care.rollout_changes;
  v_since timestamptz;
  v_until timestamptz;
begin
  select c.*
    into v_change
    from care.rollout_changes c
   where c.flag = p_flag
     and (c.id = p_id and c.action in ('kill', 'trip', 'warn') or p_id is null and c.action in ('kill', 'trip'))
   order by c.at desc, c.generation desc
   limit 1;
  if not found then
    return care.refusal('not_found', null, jsonb_build_object('message', case
      when p_id is null then format('%s was never rolled back.', p_flag)
      else 'There is no rollback and no warning with this id. See them: care-collective rollout history --json' end));
  end if;
  -- Since this span of the stage began, and a minute past the stop, for what was under way. A week is much to read.
  v_since := greatest(v_change.at - interval '7 days', (
    select max(c.at)
      from care.rollout_changes c
     where c.flag = p_flag
       and c.action in ('set', 'kill', 'trip', 'resume')
       and c.at < v_change.at));
  v_until := v_change.at + interval '1 minute';
  return jsonb_build_object(
    'success', true,
    'change', (
      select jsonb_build_object('id', v_change.id, 'flag', p_flag, 'at', v_change.at, 'action', v_change.action,
               'actor', v_change.actor, 'why', v_change.why, 'words', v_change.words, 'numbers', v_change.numbers,
               'stage', v_change.from_stage, 'told_by', v_change.told_by)),
    'since', v_since,
    'until', v_until,
    'codes', (
      select coalesce(jsonb_object_agg(k.code, k.attempts), '{}')
        from (select coalesce(o.code, o.kind) as code, count(*) as attempts
                from care.engine_outcomes o
               where o.version = 'v2'
                 and o.opened_at > v_since
                 and o.opened_at <= v_until
               group by 1) k),
    'attempts', care.incident_attempts(v_since, v_until, 100),
    'problems', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'at', p.created_at, 'code', p.code, 'reference', p.reference, 'version', p.version,
               'community_id', p.community_id) order by p.created_at desc), '[]')
        from (
          select r.*
            from care.problem_reports r
           where r.created_at > v_since
             and r.created_at <= v_until
           order by r.created_at desc
           limit 100) p),
    'resumed', (
      select jsonb_build_object('at', c.at, 'actor', c.actor, 'to_stage', c.to_stage, 'words', c.words)
        from care.rollout_changes c
       where c.flag = p_flag
         and c.action = 'resume'
         and c.at > v_change.at
       order by c.at
       limit 1));
end
$$;
comment on function care.incident_json(text, uuid) is
  'A rollback or warning, the newest rollback where none is named: who, when, why, V2''s failures and problem reports before it.';
