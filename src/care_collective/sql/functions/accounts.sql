-- People and sign-in, called by the web process itself before there is an identity, and by operators' commands.
-- Never offered to clients: who may call these is trusted with the user id that it passes.

create or replace function care.community_for_host(p_host text)
returns uuid
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_ids uuid[] := array(select c.id from public.communities c where p_host = any (c.hosts) order by c.id limit 1);
begin
  if cardinality(v_ids) = 0 then
    v_ids := array(select c.id from public.communities c where not c.is_probe limit 2);
  end if;
  return case when cardinality(v_ids) = 1 then v_ids[1] end;
end
$$;
comment on function care.community_for_host(text) is 'The community of a host name, else the only one, else null (contract.md section 1).';

create or replace function care.get_community(p_community_id uuid)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select jsonb_build_object('id', c.id, 'slug', c.slug, 'name', c.name, 'time_zone', c.time_zone,
             'locale', c.locale, 'emergency_line', c.emergency_line)
      from public.communities c
     where c.id = p_community_id);
end
$$;
comment on function care.get_community(uuid) is 'What everybody may know of a community.';

create or replace function care.take_sign_in(p_community_id uuid, p_account text, p_address text)
returns integer
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_limit record := care.limit_of(p_community_id, 'sign_ins');
  v_oldest timestamptz := v_now - make_interval(secs => v_limit.per_seconds);
  v_row record;
begin
  insert into care.sign_in_attempts as a (account, address, window_start, used)
  values (p_account, p_address, v_now, 1)
  on conflict on constraint sign_in_attempts_pkey do update
    set used = case when a.window_start <= v_oldest then 1 else a.used + 1 end,
        window_start = case when a.window_start <= v_oldest then excluded.window_start else a.window_start end
  returning a.used, a.window_start into v_row;
  return case when v_row.used > v_limit.allowed then ceil(extract(epoch from v_row.window_start - v_oldest))::integer else 0 end;
end
$$;
comment on function care.take_sign_in(uuid, text, text) is
  'Counts a sign-in of an account from an address; the seconds to wait when it is past the community''s limit, else 0.';

create or replace function care.find_credential(p_email text)
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select jsonb_build_object('user_id', u.id, 'secret', c.secret, 'set_at', c.updated_at)
      from care.users u
      join care.credentials c
        on c.user_id = u.id
       and c.kind = 'password'
     where u.email = p_email
       and u.deleted_at is null);
end
$$;
comment on function care.find_credential(text) is 'The user and password hash of an e-mail address with the time it was set, or null.';

create or replace function care.store_secret(p_user_id uuid, p_secret text)
returns void
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  -- Nobody's password is kept beyond their account: a sign-in that renews its hash can come last.
  perform 1
     from care.users u
    where u.id = p_user_id
      and u.deleted_at is null
      for no key update;
  if not found then
    return;
  end if;
  insert into care.credentials (user_id, kind, secret)
  values (p_user_id, 'password', p_secret)
  on conflict on constraint credentials_pkey do update
    set secret = excluded.secret,
        updated_at = v_now;
end
$$;
comment on function care.store_secret(uuid, text) is 'Writes a user''s password hash, the first or a newer one.';

create or replace function care.sign_up(
  p_community_id uuid, p_email text, p_secret text, p_display_name text, p_town text, p_application_words text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_id uuid;
begin
  insert into care.users (email)
  values (p_email)
  on conflict on constraint users_email_key do nothing
  returning id into v_id;
  if v_id is null then
    return care.invalid('email', 'This address cannot be used to join. If it is yours, sign in with it.');
  end if;
  perform care.store_secret(v_id, p_secret);
  return care.join_community(p_community_id, v_id, p_display_name, p_town, p_application_words);
end
$$;
comment on function care.sign_up(uuid, text, text, text, text, text) is
  'Makes a user with a password and their pending profile, all or none; refuses an address that is taken.';

create or replace function care.join_community(
  p_community_id uuid, p_user_id uuid, p_display_name text, p_town text, p_application_words text)
returns jsonb
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  -- The account's row is locked, as whoever deletes it does: it is not erased under a new profile.
  perform 1
     from care.users u
    where u.id = p_user_id
      and u.deleted_at is null
      for no key update;
  if not found or care.has_left(p_community_id, p_user_id) then
    return care.invalid('email', 'The account of this address was deleted here. Join with another address.');
  end if;
  insert into public.profiles (community_id, user_id, display_name, town, application_words)
  values (p_community_id, p_user_id, care.trim_text(p_display_name), care.text_or_null(p_town),
          care.text_or_null(p_application_words))
  on conflict on constraint profiles_pkey do nothing;
  if found then
    perform care.tell_coordinators(p_community_id);
  end if;
  return jsonb_build_object('success', true, 'user_id', p_user_id);
end
$$;
comment on function care.join_community(uuid, uuid, text, text, text) is 'Gives a user a pending profile in a community, where they have none.';

create or replace function care.has_left(p_community_id uuid, p_user_id uuid)
returns boolean
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return exists (
    select 1
      from public.profiles p
     where p.community_id = p_community_id
       and p.user_id = p_user_id
       and p.deleted_at is not null);
end
$$;
comment on function care.has_left(uuid, uuid) is
  'Whether a person deleted their account in a community: what they left there is nobody''s, and never theirs again.';

create or replace function care.me()
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_caller uuid := care.caller();
  v_community_id uuid := care.community();
  v_restriction public.user_restrictions := care.restriction_of(v_community_id, v_caller);
begin
  -- Also for the pending, the rejected and the banned: everybody may see their own status.
  return coalesce((
    select jsonb_build_object(
             'success', true,
             'user_id', p.user_id, 'email', u.email, 'display_name', p.display_name, 'town', p.town,
             'verification_status', p.verification_status, 'decision_reason', p.decision_reason,
             'decided_at', p.decided_at, 'time_zone', p.time_zone, 'locale', p.locale,
             'unread', care.unread_json(v_community_id, v_caller),
             'is_coordinator', p.is_coordinator,
             'applications_waiting', case when p.is_coordinator then care.applications_waiting(v_community_id) else 0 end,
             'is_operator', exists (select 1 from care.operators o where o.user_id = p.user_id),
             'restriction', case when v_restriction.id is not null then jsonb_build_object(
               'kind', v_restriction.kind, 'until', v_restriction.until, 'why', v_restriction.why) end,
             'community', care.get_community(v_community_id))
      from public.profiles p
      left join care.users u
        on u.id = p.user_id
     where p.community_id = v_community_id
       and p.user_id = v_caller
       and p.deleted_at is null
  ), care.refusal('permission_denied', 'identity'));
end
$$;
comment on function care.me() is 'The caller''s own account and status in the community.';

create or replace function care.find_member(p_community_id uuid, p_email text)
returns uuid
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select p.user_id
      from care.users u
      join public.profiles p
        on p.user_id = u.id
       and p.community_id = p_community_id
     where u.email = p_email
       and p.deleted_at is null);
end
$$;
comment on function care.find_member(uuid, text) is 'A member by e-mail address, for operators'' commands.';

create or replace function care.set_role(p_community_id uuid, p_user_id uuid, p_role text, p_granted_by text)
returns void
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  update public.profiles p
     set is_coordinator = (p_role = 'coordinator')
   where p.community_id = p_community_id
     and p.user_id = p_user_id
     and p_role in ('coordinator', 'member');
  if p_role = 'operator' then
    insert into care.operators (user_id, granted_by)
    values (p_user_id, p_granted_by)
    on conflict on constraint operators_pkey do nothing;
  end if;
end
$$;
comment on function care.set_role(uuid, uuid, text, text) is
  'Makes a member a coordinator of the community or a plain member of it again, or an operator of the deployment.';

create or replace function care.take_operator(p_user_id uuid)
returns void
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
begin
  delete from care.operators o
   where o.user_id = p_user_id;
end
$$;
comment on function care.take_operator(uuid) is 'Takes the deployment''s operator right away. Roles in communities stay.';
