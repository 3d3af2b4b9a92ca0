-- Who wants to join, as the community's coordinators see it, and what they or an operator's command decide.

drop function if exists care.decide_member(uuid, uuid, text, text);

create or replace function care.application_json(p_profile public.profiles)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return jsonb_build_object(
    'user_id', p_profile.user_id, 'display_name', p_profile.display_name, 'town', p_profile.town,
    'application_words', p_profile.application_words, 'status', p_profile.verification_status,
    'decision_reason', p_profile.decision_reason, 'decided_at', p_profile.decided_at,
    'created_at', p_profile.created_at);
end
$$;
comment on function care.application_json(public.profiles) is
  'What a coordinator sees of somebody who wants to join. No address: that is theirs.';

create or replace function public.list_applications(
  p_cursor text default null, p_limit integer default 20, p_waiting boolean default true)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_me care.admission;
  v_from record;
  v_found public.profiles[];
begin
  v_me := care.identify(care.caller(), 'coordinate');
  if v_me.refusal is not null then
    return v_me.refusal;
  end if;
  if p_limit is null or p_limit not between 1 and 50 then
    return care.invalid('limit', 'Ask for 1 to 50 applications.');
  end if;
  if p_waiting is null then
    return care.invalid('waiting', 'Say whether those who wait are meant, or those who were not approved.');
  end if;
  v_from := care.read_cursor(p_cursor);
  if v_from.refusal is not null then
    return v_from.refusal;
  end if;

  v_found := array(
    select p
      from public.profiles p
     where p.community_id = v_me.community_id
       and p.verification_status = case when p_waiting then 'pending' else 'rejected' end
       and p.verification_status <> 'approved'
       and p.deleted_at is null
       -- Who has waited longest comes first; without a cursor read_cursor names the end of time.
       and (p_cursor is null or (p.created_at, p.user_id) > (v_from.at, v_from.id))
     order by p.created_at, p.user_id
     limit p_limit + 1);
  return jsonb_build_object(
    'success', true,
    'applications', (
      select coalesce(jsonb_agg(care.application_json(f) order by f.created_at, f.user_id), '[]')
        from unnest(v_found[:p_limit]) as f),
    'next_cursor', case when cardinality(v_found) > p_limit then
      care.write_cursor(v_found[p_limit].created_at, v_found[p_limit].user_id) end);
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('list_applications', sqlstate, sqlerrm);
end
$$;
comment on function public.list_applications(text, integer, boolean) is
  'Who wants to join the community (p_waiting) or was not approved (rejected), who has waited longest first; for coordinators. p_limit 1 to 50.';

create or replace function care.check_decision(p_decision text, p_reason text)
returns jsonb
immutable
parallel safe
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return case
    when p_decision is null or p_decision not in ('approve', 'reject') then
      care.invalid('decision', 'Choose approve or reject.')
    else care.check_text('reason', p_reason, 0, 500)
  end;
end
$$;
comment on function care.check_decision(text, text) is 'The refusal of a decision about an application and its trimmed reason, or null.';

create or replace function care.decide_member(
  p_community_id uuid, p_user_id uuid, p_status text, p_reason text, p_decided_by uuid default null)
returns void
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  -- The row lock of this update is the one every write takes first: the decision holds from the next call on.
  update public.profiles p
     set verification_status = p_status,
         decision_reason = care.text_or_null(p_reason),
         decided_by = p_decided_by,
         decided_at = v_now
   where p.community_id = p_community_id
     and p.user_id = p_user_id;
  -- The community decides: which coordinator it was is not told, and no block between the two keeps it back.
  perform care.notify(p_community_id, p_user_id, 'membership.' || p_status, null, null, null);
  if care.applications_waiting(p_community_id) = 0 then
    -- Nobody is left to decide about: no letter more, and whoever has decided knows it. Locked as tell_coordinators does.
    perform 1
       from public.notifications n
      where n.community_id = p_community_id
        and n.kind = 'membership.waiting'
        and n.read_at is null
      order by n.user_id
        for no key update;
    update public.notifications n
       set due_at = null,
           read_at = case when n.user_id = p_decided_by then v_now end
     where n.community_id = p_community_id
       and n.kind = 'membership.waiting'
       and n.read_at is null;
  end if;
end
$$;
comment on function care.decide_member(uuid, uuid, text, text, uuid) is
  'Approves or rejects a member: by a coordinator, or by an operator''s command, which is nobody of the community.';

create or replace function public.decide_application(p_applicant_id uuid, p_decision text, p_reason text default null)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_caller uuid;
  v_others uuid[];
  v_me care.writing;
  v_reason text;
  v_found public.profiles;
  v_status text;
begin
  v_caller := care.caller();
  v_reason := care.text_or_null(p_reason);
  -- Asked without a lock first, so that nobody but a coordinator can hold a stranger's row.
  v_others := case when (care.identify(v_caller, 'coordinate')).refusal is null then array[p_applicant_id] end;
  v_me := care.begin_write(v_caller, 'coordinate', 'application.decide',
    jsonb_build_array(p_applicant_id, p_decision, v_reason), care.check_decision(p_decision, v_reason),
    p_others => array_remove(v_others, null));
  if v_me.answer is not null then
    return v_me.answer;
  end if;
  select p.*
    into v_found
    from public.profiles p
   where p.community_id = v_me.community_id
     and p.user_id = p_applicant_id
     and p.deleted_at is null;
  if not found then
    return care.refusal('not_found');
  end if;
  -- Who was not approved can be looked at again. An approval is not taken back here: that is a restriction.
  if v_found.verification_status = 'approved' or (v_found.verification_status = 'rejected' and p_decision = 'reject') then
    return care.refusal('conflict', 'state', jsonb_build_object('status', v_found.verification_status));
  end if;
  v_status := case p_decision when 'approve' then 'approved' else 'rejected' end;
  perform care.decide_member(v_me.community_id, p_applicant_id, v_status, v_reason, v_me.user_id);
  perform care.audit(v_me.user_id, 'a coordinator', 'application.' || p_decision, p_applicant_id::text, true,
    jsonb_build_object('community_id', v_me.community_id));
  return care.remember(v_me, jsonb_build_object('success', true, 'user_id', p_applicant_id, 'status', v_status));
exception when others then
  if care.is_transient(sqlstate) then raise; end if;
  return care.fault('decide_application', sqlstate, sqlerrm);
end
$$;
comment on function public.decide_application(uuid, text, text) is
  'Approves or rejects somebody who wants to join (p_decision), with an optional reason of up to 500 characters that they read; for coordinators.';

create or replace function care.applications_waiting(p_community_id uuid)
returns integer
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  -- Nobody counts past a hundred.
  return (
    select count(*)
      from (
        select 1
          from public.profiles p
         where p.community_id = p_community_id
           and p.verification_status = 'pending'
           and p.verification_status <> 'approved'
           and p.deleted_at is null
         limit 100
      ) s);
end
$$;
comment on function care.applications_waiting(uuid) is 'How many, up to 100, wait for a coordinator to look at them.';

create or replace function care.is_awaited(p_community_id uuid, p_user_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (care.allow(p_community_id, p_user_id, 'coordinate')).refusal is null
     and care.applications_waiting(p_community_id) > 0;
end
$$;
comment on function care.is_awaited(uuid, uuid) is 'Whether somebody waits for a member to look at their application.';

create or replace function care.tell_coordinators(p_community_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_soon timestamptz := v_now + interval '1 minute';
  -- again_at is two hours after the last letter: one a day, as long as somebody has not looked.
  v_rest constant interval := interval '22 hours';
  v_told record;
  v_due_at timestamptz;
begin
  for v_told in
    select p.user_id, n.id, n.again_at
      from public.profiles p
      left join public.notifications n
        on n.community_id = p_community_id
       and n.user_id = p.user_id
       and n.kind = 'membership.waiting'
       and n.read_at is null
     where p.community_id = p_community_id
       and p.is_coordinator
       and p.deleted_at is null
     order by p.user_id
  loop
    if v_told.id is null then
      perform care.notify(p_community_id, v_told.user_id, 'membership.waiting', null, null, null);
    else
      v_due_at := greatest(v_soon, v_told.again_at + v_rest);
      update public.notifications n
         set updated_at = v_now,
             due_at = coalesce(n.due_at, v_due_at)
       where n.community_id = p_community_id
         and n.id = v_told.id
         and n.read_at is null;
    end if;
  end loop;
end
$$;
comment on function care.tell_coordinators(uuid) is
  'Tells the coordinators of a community that somebody wants to join; who has not looked yet by the row they have, and by one letter a day.';
