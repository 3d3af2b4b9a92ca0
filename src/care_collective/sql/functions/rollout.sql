-- The switch: changes of a flag, each one row with who, when and why in the same transaction; and the nodes' reports.

create or replace function care.lock_flag(p_flag text)
returns care.rollout_flags
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_flag care.rollout_flags;
begin
  -- All of them, by name: generations are one series, so that one number of a node says what it has read.
  perform 1 from care.rollout_flags f order by f.name for no key update;
  select f.* into v_flag from care.rollout_flags f where f.name = p_flag;
  return v_flag;
end
$$;
comment on function care.lock_flag(text) is 'A flag''s row, locked until commit with all others, or a row of nulls for an unknown name.';

create or replace function care.record_change(
  p_flag care.rollout_flags, p_action text, p_actor text, p_actor_id uuid, p_why text, p_words text,
  p_to_stage text default null, p_numbers jsonb default null, p_node_id uuid default null)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_id uuid := gen_random_uuid();
  v_generation bigint := p_flag.generation;
begin
  if p_action <> 'warn' then
    v_generation := (select max(f.generation) + 1 from care.rollout_flags f);
    update care.rollout_flags f
       set stage = coalesce(p_to_stage, f.stage),
           stopped = case p_action when 'kill' then 'killed' when 'trip' then 'tripped' when 'resume' then null
                     else f.stopped end,
           stage_since = case when p_action in ('set', 'kill', 'trip', 'resume') then v_now else f.stage_since end,
           updated_at = v_now,
           generation = v_generation
     where f.name = p_flag.name;
    -- Rare, hence fit for a notification inside the transaction: it leaves with the commit or not at all.
    perform pg_notify('care_rollout', p_flag.name);
  end if;
  insert into care.rollout_changes
    (id, flag, at, actor, actor_id, action, from_stage, to_stage, why, words, numbers, node_id, generation)
  values
    (v_id, p_flag.name, v_now, p_actor, p_actor_id, p_action, p_flag.stage,
     coalesce(p_to_stage, case when p_action in ('kill', 'trip') then 'off' else p_flag.stage end), p_why,
     p_words, p_numbers, p_node_id, v_generation);
  return jsonb_build_object('success', true, 'generation', v_generation, 'change_id', v_id, 'at', v_now);
end
$$;
comment on function care.record_change(care.rollout_flags, text, text, uuid, text, text, text, jsonb, uuid) is
  'Changes a locked flag as an action says, and writes its row of history; a warning changes nothing.';

create or replace function care.not_now(p_words text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return care.refusal('conflict', 'state', jsonb_build_object('message', p_words));
end
$$;
comment on function care.not_now(text) is 'The refusal of a change that the flag''s present state does not allow, in its own words.';

create or replace function care.stop_rollout(
  p_flag text, p_action text, p_actor text, p_actor_id uuid, p_why text, p_words text, p_numbers jsonb default null,
  p_node_id uuid default null, p_expected_generation bigint default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_flag care.rollout_flags := care.lock_flag(p_flag);
  v_last record;
begin
  if v_flag.name is null then
    return care.invalid('flag', format('There is no flag %s.', p_flag));
  end if;
  if v_flag.stopped is not null then
    select c.actor, c.at
      into v_last
      from care.rollout_changes c
     where c.flag = p_flag
       and c.action in ('kill', 'trip')
     order by c.generation desc
     limit 1;
    return care.not_now(format('It is stopped already, since %s by %s. Nothing was changed.',
      to_char(v_last.at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), v_last.actor));
  end if;
  if p_expected_generation <> v_flag.generation then
    return care.not_now('The flag was changed meanwhile. Look again.');
  end if;
  return care.record_change(v_flag, case p_action when 'trip' then 'trip' else 'kill' end, p_actor, p_actor_id, p_why,
    p_words, null, p_numbers, p_node_id);
end
$$;
comment on function care.stop_rollout(text, text, text, uuid, text, text, jsonb, uuid, bigint) is
  'Stops a flag: kill for a person, trip for the guard. Who comes second, or has judged another generation, is told so.';

create or replace function care.set_stage(
  p_flag text, p_stage text, p_actor text, p_actor_id uuid, p_words text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_flag care.rollout_flags := care.lock_flag(p_flag);
  v_stage text := care.canonical_stage(p_stage);
  v_node text := care.declaring_node();
begin
  if v_stage is null then
    return care.invalid('stage',
      'A stage must be off, internal, percentage:N (N from 0 to 100 in steps of 0.01, as percentage:12.5) or on.');
  end if;
  if v_flag.stopped is not null then
    return care.not_now('It is stopped. Resume it first: care-collective rollout resume.');
  end if;
  if v_node is not null and p_flag = 'messaging_v2' then
    return care.not_now(format('The environment of %s declares the stage, which stands above this. '
      'Take MESSAGING_V2_ENABLED and MESSAGING_V2_ROLLOUT out of it, start it again, then set the stage here.', v_node));
  end if;
  if v_flag.stage = v_stage then
    return care.not_now(format('The stage is %s already.', v_stage));
  end if;
  return care.record_change(v_flag, 'set', p_actor, p_actor_id, null, p_words, v_stage);
end
$$;
comment on function care.set_stage(text, text, text, uuid, text) is
  'Moves a flag to another stage, unless it is stopped or a node''s environment declares the stage.';

create or replace function care.resume_rollout(
  p_flag text, p_stage text, p_actor text, p_actor_id uuid, p_words text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_flag care.rollout_flags := care.lock_flag(p_flag);
  v_stage text := care.canonical_stage(coalesce(p_stage, 'internal'));
begin
  if v_stage is null then
    return care.invalid('stage',
      'A stage must be off, internal, percentage:N (N from 0 to 100 in steps of 0.01, as percentage:12.5) or on.');
  end if;
  if v_flag.stopped is null then
    return care.not_now('It is not stopped. To move it to another stage: care-collective rollout set.');
  end if;
  return care.record_change(v_flag, 'resume', p_actor, p_actor_id, null, p_words, v_stage);
end
$$;
comment on function care.resume_rollout(text, text, text, uuid, text) is
  'Lets a stopped flag go on at a stage, internal unless another is named.';

create or replace function care.change_cohort(
  p_flag text, p_action text, p_email text, p_actor text, p_actor_id uuid, p_words text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_flag care.rollout_flags := care.lock_flag(p_flag);
  v_email text := lower(care.trim_text(p_email));
  v_user_id uuid := (select u.id from care.users u where u.email = v_email and u.deleted_at is null);
  v_now timestamptz := clock_timestamp();
begin
  if coalesce(v_email, '') = '' then
    return care.invalid('email', 'Give the address of the member.');
  end if;
  if v_user_id is null then
    return care.invalid('email', format('There is no member with the address %s.', left(v_email, 254)));
  end if;
  if p_action = 'cohort_add' then
    insert into care.rollout_cohort (flag, user_id, added_by, added_at)
    values (v_flag.name, v_user_id, p_actor, v_now)
    on conflict on constraint rollout_cohort_pkey do nothing;
  else
    delete from care.rollout_cohort c
     where c.flag = v_flag.name
       and c.user_id = v_user_id;
  end if;
  if not found then
    return care.not_now(format('%s is %s the cohort.', v_email, case p_action when 'cohort_add' then 'in' else 'not in' end));
  end if;
  return care.record_change(v_flag, p_action, p_actor, p_actor_id, null, p_words,
    p_numbers => jsonb_build_object('user_id', v_user_id));
end
$$;
comment on function care.change_cohort(text, text, text, text, uuid, text) is
  'Names a member for a flag''s cohort (cohort_add) or takes them out of it (cohort_remove), by e-mail address.';

create or replace function care.change_rollout(p_action text, p_arguments jsonb, p_actor text, p_actor_id uuid)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_flag text := coalesce(p_arguments ->> 'flag', 'messaging_v2');
  v_words text := care.trim_text(p_arguments ->> 'reason');
  v_refusal jsonb := care.check_text('reason', v_words, 1, 1000);
begin
  return case
    when not exists (select 1 from care.rollout_flags f where f.name = v_flag) then
      care.invalid('flag', format('There is no flag %s.', left(v_flag, 63)))
    when v_refusal is not null then v_refusal
    when p_action = 'set' then care.set_stage(v_flag, p_arguments ->> 'stage', p_actor, p_actor_id, v_words)
    when p_action = 'resume' then care.resume_rollout(v_flag, p_arguments ->> 'stage', p_actor, p_actor_id, v_words)
    when p_action = 'rule' then
      care.change_rule(v_flag, p_arguments ->> 'rule', coalesce((p_arguments ->> 'thresholds')::jsonb, '{}'),
        (p_arguments ->> 'dry_run')::boolean, p_actor, p_actor_id, v_words)
    when p_action in ('retire', 'unretire') then
      care.retire_v1(v_flag, p_action, (p_arguments ->> 'force')::boolean, p_actor, p_actor_id, v_words)
    when p_action in ('cohort_add', 'cohort_remove') then
      care.change_cohort(v_flag, p_action, p_arguments ->> 'email', p_actor, p_actor_id, v_words)
    when p_action like 'cohort%' then care.invalid('action', 'Say whether to add the member or to remove them.')
    when p_action <> 'kill' then care.invalid('action', 'There is set, kill, resume, cohort_add and cohort_remove.')
    when p_arguments ->> 'why' in ('data-loss', 'security', 'errors', 'complaints', 'other') then
      care.stop_rollout(v_flag, 'kill', p_actor, p_actor_id, p_arguments ->> 'why', v_words)
    else care.invalid('why', 'Say why: data-loss, security, errors, complaints or other.')
  end;
end
$$;
comment on function care.change_rollout(text, jsonb, text, uuid) is
  'One change that a person asks for: set, kill, resume, cohort_add, cohort_remove, rule, retire or unretire, with flag, stage, why, email, rule, thresholds, dry_run, force, reason.';

create or replace function care.audit(
  p_actor_id uuid, p_actor text, p_action text, p_subject text, p_allowed boolean, p_details jsonb)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  insert into care.audit_log (at, actor_id, actor, action, subject, allowed, details)
  values (v_now, p_actor_id, p_actor, p_action, p_subject, p_allowed, p_details);
end
$$;
comment on function care.audit(uuid, text, text, text, boolean, jsonb) is 'Writes a line of the audit log, for what was done and for what was refused.';

create or replace function care.prune_audit()
returns integer
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  -- As long as the attempts that led to what was done.
  v_before timestamptz := clock_timestamp() - interval '13 months';
  v_batch constant integer := 10000;
  v_lines integer;
begin
  delete from care.audit_log d
   where d.ctid = any (array(
     select o.ctid
       from care.audit_log o
      where o.at < v_before
      order by o.at
      limit v_batch
        for no key update skip locked));
  get diagnostics v_lines = row_count;
  return v_lines;
end
$$;
comment on function care.prune_audit() is 'Removes a batch of the audit log''s lines older than 13 months; how many went.';

create or replace function care.audited(p_arguments jsonb, p_answer jsonb)
returns jsonb
immutable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return jsonb_build_object('answer', p_answer, 'arguments',
    case when char_length(p_arguments::text) <= 4000 then p_arguments end);
end
$$;
comment on function care.audited(jsonb, jsonb) is 'The details of an audited call: what was asked, unless it is too long to keep, and the answer.';

create or replace function care.command_rollout(p_action text, p_arguments jsonb, p_as text, p_login text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_operator record;
  v_actor text := coalesce(lower(p_as), 'command line, ' || p_login);
  v_answer jsonb;
begin
  select o.user_id
    into v_operator
    from care.operators o
    join care.users u
      on u.id = o.user_id
   where u.email = lower(p_as)
     and u.deleted_at is null;
  v_answer := case
    when p_as is not null and v_operator.user_id is null then
      care.refusal('permission_denied', 'role', jsonb_build_object('message', format('%s is no operator.', p_as)))
    else care.change_rollout(p_action, p_arguments, v_actor, v_operator.user_id) end;
  perform care.audit(v_operator.user_id, v_actor, 'rollout.' || p_action,
    coalesce(p_arguments ->> 'flag', 'messaging_v2'), v_answer -> 'success' = 'true'::jsonb,
    care.audited(p_arguments, v_answer));
  return v_answer;
end
$$;
comment on function care.command_rollout(text, jsonb, text, text) is
  'A change from the command line, by an operator''s address or a login of the machine; audited, refused ones too.';
