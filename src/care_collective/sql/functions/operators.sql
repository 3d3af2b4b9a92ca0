-- Communities and members as the operator's commands see them. Run with the owner's URL; granted to nobody.

create or replace function care.check_community(
  p_id uuid, p_name text, p_hosts text[], p_time_zone text, p_emergency_line text)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_taken text := (
    select h.host
      from unnest(p_hosts) as h (host)
      join public.communities c
        on h.host = any (c.hosts)
       and c.id is distinct from p_id
     limit 1);
begin
  if care.check_text('name', p_name, 1, 80) is not null then
    return care.check_text('name', p_name, 1, 80);
  end if;
  if v_taken is not null then
    return care.invalid('host', format('Another community answers at %s.', v_taken));
  end if;
  -- Names only: PostgreSQL also takes abbreviations and offsets such as UTC+3, which lie the other way round.
  if not exists (select 1 from pg_catalog.pg_timezone_names t where t.name = p_time_zone) then
    return care.invalid('time_zone', format('%s is no time zone; write one like Europe/Lisbon.', p_time_zone));
  end if;
  return care.check_text('emergency_line', p_emergency_line, 0, 200);
end
$$;
comment on function care.check_community(uuid, text, text[], text, text) is 'The refusal of a community''s fields, or null.';

create or replace function care.add_community(
  p_slug text, p_name text, p_hosts text[], p_time_zone text, p_emergency_line text)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_name text := care.trim_text(p_name);
  v_emergency_line text := care.text_or_null(p_emergency_line);
  v_refusal jsonb := care.check_community(null, v_name, p_hosts, p_time_zone, v_emergency_line);
  v_id uuid;
begin
  if p_slug !~ '^[a-z0-9][a-z0-9-]{0,62}$' then
    return care.invalid('slug', 'A slug is 1 to 63 small letters, digits and hyphens, such as linden-row.');
  end if;
  if v_refusal is not null then
    return v_refusal;
  end if;
  insert into public.communities (slug, name, hosts, time_zone, emergency_line)
  values (p_slug, v_name, p_hosts, p_time_zone, v_emergency_line)
  on conflict on constraint communities_slug_key do nothing
  returning id into v_id;
  if v_id is null then
    return care.invalid('slug', format('There is a community %s already.', p_slug));
  end if;
  return jsonb_build_object('success', true, 'community', care.community_json(v_id));
end
$$;
comment on function care.add_community(text, text, text[], text, text) is 'Makes a community, for operators'' commands.';

create or replace function care.set_community(p_community_id uuid, p_changes jsonb)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_row public.communities;
  v_refusal jsonb;
begin
  select c.*
    into v_row
    from public.communities c
   where c.id = p_community_id
     for no key update;
  v_row.name := care.trim_text(coalesce(p_changes ->> 'name', v_row.name));
  v_row.time_zone := coalesce(p_changes ->> 'time_zone', v_row.time_zone);
  -- An empty list or line takes away what was there; an absent one leaves it.
  if p_changes ? 'hosts' then
    v_row.hosts := array(select h.host from jsonb_array_elements_text(p_changes -> 'hosts') as h (host));
  end if;
  if p_changes ? 'emergency_line' then
    v_row.emergency_line := care.text_or_null(p_changes ->> 'emergency_line');
  end if;
  v_refusal := care.check_community(v_row.id, v_row.name, v_row.hosts, v_row.time_zone, v_row.emergency_line);
  if v_refusal is not null then
    return v_refusal;
  end if;
  update public.communities c
     set name = v_row.name,
         hosts = v_row.hosts,
         time_zone = v_row.time_zone,
         emergency_line = v_row.emergency_line
   where c.id = p_community_id;
  return jsonb_build_object('success', true, 'community', care.community_json(p_community_id));
end
$$;
comment on function care.set_community(uuid, jsonb) is
  'Changes name, hosts, time_zone or emergency_line of a community, those that are named; for operators'' commands.';

create or replace function care.community_json(p_community_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select jsonb_build_object(
             'id', c.id, 'slug', c.slug, 'name', c.name, 'hosts', c.hosts, 'time_zone', c.time_zone,
             'emergency_line', c.emergency_line, 'settings', c.settings,
             'members', (select count(*) from public.profiles p where p.community_id = c.id and p.deleted_at is null),
             'pending', (select count(*) from public.profiles p
                          where p.community_id = c.id
                            and p.verification_status = 'pending'
                            and p.deleted_at is null))
      from public.communities c
     where c.id = p_community_id);
end
$$;
comment on function care.community_json(uuid) is 'A community with its numbers, as operators see it.';

create or replace function care.list_communities()
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(care.community_json(c.id) order by c.slug), '[]')
      from public.communities c
     where not c.is_probe);
end
$$;
comment on function care.list_communities() is 'Every community but the probe''s, by slug, for operators'' commands.';

create or replace function care.invite_member(
  p_community_id uuid, p_email text, p_secret text, p_display_name text, p_town text, p_coordinator boolean)
returns jsonb
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_id uuid := (select u.id from care.users u where u.email = p_email and u.deleted_at is null);
  v_known boolean := v_id is not null;
  v_answer jsonb;
begin
  if care.find_member(p_community_id, p_email) is not null then
    return care.invalid('email', format('%s is a member of this community already.', p_email));
  end if;
  if care.has_left(p_community_id, v_id) then
    return care.invalid('email', format('%s deleted their account in this community. Invite another address.', p_email));
  end if;
  -- Nobody has proved the address of an account in another community: whoever made it is not who is invited here. One
  -- statement, so that no session is opened between the new password and the end of the old ones.
  if v_known then
    perform care.store_secret(v_id, p_secret);
    delete from care.sessions s
     where s.user_id = v_id;
    delete from care.push_subscriptions p
     where p.user_id = v_id;
  end if;
  v_answer := case
    when v_known then care.join_community(p_community_id, v_id, p_display_name, p_town, null)
    else care.sign_up(p_community_id, p_email, p_secret, p_display_name, p_town, null) end;
  if v_answer -> 'success' <> 'true'::jsonb then
    return v_answer;
  end if;
  v_id := (v_answer ->> 'user_id')::uuid;
  perform care.decide_member(p_community_id, v_id, 'approved', null);
  if p_coordinator then
    perform care.set_role(p_community_id, v_id, 'coordinator', 'invitation');
  end if;
  return v_answer || jsonb_build_object('had_account', v_known);
end
$$;
comment on function care.invite_member(uuid, text, text, text, text, boolean) is
  'Makes an approved member with a new password, which replaces that of an account in another community and ends its sessions and notices to its browsers; for operators'' commands.';

create or replace function care.account_of(p_user_id uuid)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select jsonb_build_object('user_id', u.id, 'email', u.email, 'since', u.created_at, 'address_proved', false,
             'is_operator', exists (select 1 from care.operators o where o.user_id = u.id))
      from care.users u
     where u.id = p_user_id);
end
$$;
comment on function care.account_of(uuid) is
  'Whose account a role or an approval is given to: its address, which nobody proves yet, since when it is there, and whether it is an operator''s.';

create or replace function care.list_members(p_community_id uuid, p_status text)
returns jsonb
stable
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'user_id', p.user_id, 'email', u.email, 'display_name', p.display_name, 'town', p.town,
             'verification_status', p.verification_status, 'is_coordinator', p.is_coordinator,
             'is_operator', exists (select 1 from care.operators o where o.user_id = p.user_id),
             'restriction', (care.restriction_of(p.community_id, p.user_id)).kind,
             'created_at', p.created_at) order by p.display_name, p.user_id), '[]')
      from public.profiles p
      left join care.users u
        on u.id = p.user_id
     where p.community_id = p_community_id
       and p.deleted_at is null
       and (p_status is null or p.verification_status = p_status));
end
$$;
comment on function care.list_members(uuid, text) is
  'The members of a community, of one approval state where it is named, for operators'' commands.';
