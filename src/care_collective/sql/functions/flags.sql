-- What the flag decides: the policy of rollout/policy.py, the same answers here, for whoever asks the database.

create or replace function care.bucket(p_user_id uuid, p_salt text, p_flag text default 'messaging_v2')
returns integer
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_hash bytea := sha256(convert_to(format('%s:%s:%s', p_flag, p_salt, p_user_id), 'UTF8'));
begin
  return (((get_byte(v_hash, 0)::bigint << 24) + (get_byte(v_hash, 1) << 16) + (get_byte(v_hash, 2) << 8)
           + get_byte(v_hash, 3)) % 10000)::integer;
end
$$;
comment on function care.bucket(uuid, text, text) is
  'A member''s place in 0..9999, hundredths of a percent: the same at every stage; another salt shuffles all (rollout.md).';

create or replace function care.canonical_stage(p_stage text)
returns text
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_stage text := care.trim_text(p_stage);
begin
  -- The grammar of STAGE in settings.py; a test compares the two.
  return case
    when v_stage in ('off', 'internal', 'on') then v_stage
    when v_stage ~ '^percentage:(100(\.00?)?|(0|[1-9][0-9]?)(\.[0-9]{1,2})?)$' then
      'percentage:' || trim_scale(substr(v_stage, 12)::numeric)
  end;
end
$$;
comment on function care.canonical_stage(text) is
  'A stage as it is kept, percentage:12.5 for percentage:12.50, or null for what is none.';

create or replace function care.in_cohort(p_flag text, p_user_id uuid, p_community_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  if exists (select 1 from care.rollout_cohort c where c.flag = p_flag) then
    return exists (
      select 1
        from care.rollout_cohort c
       where c.flag = p_flag
         and c.user_id = p_user_id);
  end if;
  -- Where no members are named the cohort is coordinators and operators (rollout.md, stages).
  return exists (
           select 1
             from public.profiles p
            where p.community_id = p_community_id
              and p.user_id = p_user_id
              and p.is_coordinator
              and p.deleted_at is null)
      or exists (select 1 from care.operators o where o.user_id = p_user_id);
end
$$;
comment on function care.in_cohort(text, uuid, uuid) is
  'Whether a member is of those who get what a flag opens first: the named ones, or where none is coordinators and operators.';

create or replace function care.is_in_cohort()
returns boolean
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return care.in_cohort('messaging_v2', care.caller(), care.community());
end
$$;
comment on function care.is_in_cohort() is 'Whether the caller is of those who get V2 first.';

create or replace function care.is_stopped(p_flag text)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return exists (
    select 1
      from care.rollout_flags f
     where f.name = p_flag
       and f.stopped is not null);
end
$$;
comment on function care.is_stopped(text) is 'Whether a flag is killed or tripped: then nothing new opens by it, whoever asks.';

create or replace function care.uses_v2(p_flag text, p_user_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_community_id uuid := care.community();
  v_stage text;
  v_salt text;
begin
  -- No row, a stopped one and an unreadable stage are off alike.
  select care.canonical_stage(f.stage), f.salt
    into v_stage, v_salt
    from care.rollout_flags f
   where f.name = p_flag
     and f.stopped is null;
  return case
    when v_stage is null or v_stage = 'off' then false
    when v_stage = 'on' or care.in_cohort(p_flag, p_user_id, v_community_id) then true
    when v_stage = 'internal' then false
    else care.bucket(p_user_id, v_salt, p_flag) < substr(v_stage, 12)::numeric * 100
  end;
end
$$;
comment on function care.uses_v2(text, uuid) is
  'Whether a flag is on for a member by what the database says. What a node''s environment declares is not known here.';

create or replace function care.read_flag(p_name text)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select jsonb_build_object(
             'name', f.name, 'stage', f.stage, 'salt', f.salt, 'stopped', f.stopped, 'generation', f.generation,
             'since', f.stage_since, 'retired', f.retired_at is not null,
             'cohort', (select coalesce(jsonb_agg(c.user_id order by c.user_id), '[]')
                          from care.rollout_cohort c
                         where c.flag = f.name))
      from care.rollout_flags f
     where f.name = p_name);
end
$$;
comment on function care.read_flag(text) is
  'A flag as it stands: stage, salt, stopped (killed, tripped or null), generation, since when, whether V1 is retired, named members; null for none.';

create or replace function care.read_flags()
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(care.read_flag(f.name) order by f.name), '[]')
      from care.rollout_flags f);
end
$$;
comment on function care.read_flags() is 'Every flag as read_flag gives it, by name.';
